-- Grain: one row per run, center, window and feature
SELECT *
FROM raw_drift
