-- Grain: one row per alert, as it stands now
SELECT *
FROM raw_alerts
QUALIFY row_number() OVER (PARTITION BY alert_key ORDER BY commit_seq DESC NULLS FIRST) = 1
