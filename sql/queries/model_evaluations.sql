-- Grain: one row per algorithm (and signature) of the latest training and metric, on all external centers
SELECT
    evaluations.algorithm,
    evaluations.metric,
    evaluations.value,
    evaluations.ci_low,
    evaluations.ci_high,
    evaluations.n,
    evaluations.n_events,
    model_versions.status = 'champion' AND evaluations.algorithm = model_versions.algorithm AS is_champion
FROM evaluations
LEFT JOIN model_versions ON evaluations.model_version = model_versions.model_version
WHERE
    evaluations.cohort = 'external'
    AND evaluations.center = 'all'
    AND evaluations.commit_seq = (SELECT max(latest.commit_seq) FROM evaluations AS latest)
ORDER BY evaluations.algorithm IN ('radiomics_score', 'dl_score'), model_versions.auc_cv DESC, evaluations.algorithm
