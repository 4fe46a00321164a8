-- Grain: one row per center, kind and reason with items set aside now
SELECT
    center,
    kind,
    reason,
    count(*) AS items
FROM quarantine
WHERE resolved_at IS NULL
GROUP BY center, kind, reason
ORDER BY center, kind, reason
