-- Grain: one row, the version that was champion before the present one, if any
SELECT model_version
FROM raw_model_versions
WHERE status = 'retired'
ORDER BY commit_seq DESC
LIMIT 1
