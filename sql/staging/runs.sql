-- Grain: one row per run
SELECT *
FROM raw_runs
