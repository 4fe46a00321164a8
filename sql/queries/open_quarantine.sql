-- Grain: one row per item that is set aside now
SELECT
    item_key,
    kind,
    center,
    reason,
    detail,
    attempts,
    first_seen_at
FROM quarantine
WHERE resolved_at IS NULL
ORDER BY center, kind, reason, item_key
