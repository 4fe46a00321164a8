-- Grain: one row per status and reason of the worklist
SELECT
    status,
    reason,
    count(*) AS cases
FROM worklist
GROUP BY status, reason
ORDER BY cases DESC, status, reason
