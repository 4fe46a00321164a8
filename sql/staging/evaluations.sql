-- Grain: one row per model version, cohort, center and metric
SELECT *
FROM raw_evaluations
