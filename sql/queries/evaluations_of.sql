-- Grain: one row per cohort, center and metric of one model version
SELECT
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
WHERE model_version = $version
ORDER BY algorithm, cohort, center, metric
