-- Grain: one row per case: the key of its latest score
SELECT
    case_key,
    model_version,
    input_hash
FROM scores
WHERE is_latest
