-- Grain: one row per case: the key of its latest score as of a moment
SELECT
    case_key,
    model_version,
    input_hash
FROM scores_as_of($as_of::TIMESTAMPTZ)
