-- Grain: one row, the latest run, if any
SELECT
    run_id,
    command,
    status,
    finished_at
FROM runs
ORDER BY finished_at DESC
LIMIT 1
