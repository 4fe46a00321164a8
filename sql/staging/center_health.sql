-- Grain: one row per run and center
SELECT *
FROM raw_center_health
