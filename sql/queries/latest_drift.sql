-- Grain: one row per center and feature, of the latest monitoring run
SELECT *
FROM drift
WHERE is_latest
ORDER BY center, feature
