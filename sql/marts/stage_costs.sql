-- Grain: one row per run and stage: how long it took
-- Column: stage: The stage, over all of its centers.
-- Column: duration_ms: How long it took, in milliseconds.
-- Column: fraction: Of the whole run.
SELECT
    runs.run_id,
    runs.command,
    runs.started_at,
    stages.key AS stage,
    stages.value::BIGINT AS duration_ms,
    stages.value::BIGINT / nullif(date_diff('millisecond', runs.started_at, runs.finished_at), 0) AS fraction
FROM runs, json_each(runs.stage_ms) AS stages
