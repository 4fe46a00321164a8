-- Grain: one row per alert that is open
SELECT
    alert_key,
    center,
    kind,
    severity,
    message,
    first_raised_at,
    last_raised_at
FROM alerts
WHERE resolved_at IS NULL
ORDER BY center, kind
