-- Grain: one row per algorithm, cohort, center and metric of the latest training, and of the champion's
SELECT
    model_version,
    algorithm,
    cohort,
    center,
    metric,
    value,
    ci_low,
    ci_high,
    n,
    n_events
FROM evaluations
WHERE
    commit_seq = (SELECT max(latest.commit_seq) FROM evaluations AS latest)
    OR model_version IN (
        SELECT champions.model_version
        FROM model_versions AS champions
        WHERE champions.status = 'champion'
    )
ORDER BY model_version, algorithm, cohort, center, metric
