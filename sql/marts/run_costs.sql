-- Grain: one row per run: how long it took and what it wrote
-- Column: duration_ms: How long the run took, in milliseconds.
SELECT
    runs.run_id,
    runs.command,
    runs.status,
    runs.started_at,
    date_diff('millisecond', runs.started_at, runs.finished_at) AS duration_ms,
    runs.counts
FROM runs
