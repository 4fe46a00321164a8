-- Grain: one row per center and metric, of the latest monitoring run
SELECT *
FROM performance
WHERE is_latest
ORDER BY center, metric
