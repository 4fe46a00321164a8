-- Grain: one row per case, model version and scoring
-- Column: is_latest: Whether it is the case's latest scoring.
SELECT
    *,
    row_number() OVER (PARTITION BY case_key ORDER BY scored_at DESC, commit_seq DESC NULLS FIRST) = 1 AS is_latest
FROM raw_scores
