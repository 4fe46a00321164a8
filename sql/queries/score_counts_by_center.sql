-- Grain: one row per center, status and reason of the worklist
SELECT
    center,
    status,
    reason,
    count(*) AS cases
FROM worklist
GROUP BY center, status, reason
ORDER BY center, status, reason
