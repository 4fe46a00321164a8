-- Grain: one row per feature
SELECT *
FROM raw_feature_robustness
QUALIFY row_number() OVER (PARTITION BY feature ORDER BY commit_seq DESC NULLS FIRST) = 1
