-- Grain: one row per model version, as it stands now
SELECT *
FROM raw_model_versions
QUALIFY row_number() OVER (PARTITION BY model_version ORDER BY commit_seq DESC NULLS FIRST) = 1
