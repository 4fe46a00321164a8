-- Grain: one row per run, center, window and feature
-- Column: is_latest: Whether it is of the monitoring run that looked at the latest window.
SELECT
    *,
    commit_seq = (
        SELECT max_by(ends.commit_seq, (coalesce(ends.window_end, '-infinity'), ends.commit_seq))
        FROM raw_drift AS ends
    ) AS is_latest
FROM raw_drift
