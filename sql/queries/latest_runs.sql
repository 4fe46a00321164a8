-- Grain: one row per run, newest first
SELECT *
FROM runs
ORDER BY started_at DESC
LIMIT 10
