-- Grain: one row per center with items set aside
SELECT
    center,
    count(*) AS items
FROM quarantine
WHERE resolved_at IS NULL
GROUP BY center
