-- Grain: one row per model version and cohort: its AUC over all centers
SELECT
    evaluations.model_version,
    evaluations.algorithm,
    model_versions.status,
    evaluations.cohort,
    evaluations.value,
    evaluations.ci_low,
    evaluations.ci_high,
    evaluations.n,
    evaluations.n_events
FROM evaluations
INNER JOIN model_versions
    ON
        evaluations.model_version = model_versions.model_version
        AND evaluations.algorithm = model_versions.algorithm
WHERE evaluations.metric = 'auc' AND evaluations.center = 'all'
ORDER BY model_versions.trained_at DESC, evaluations.model_version, evaluations.cohort
