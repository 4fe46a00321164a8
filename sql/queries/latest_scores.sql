-- Grain: one row per case: the key of its latest score as of a moment
SELECT
    case_key,
    model_version,
    input_hash
FROM raw_scores
WHERE scored_at <= $as_of::TIMESTAMPTZ
QUALIFY row_number() OVER (PARTITION BY case_key ORDER BY scored_at DESC, commit_seq DESC NULLS FIRST) = 1
