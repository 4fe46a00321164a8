-- Grain: one row per case scored as of t, with the latest of its scores
-- Macro: scores_as_of(t)
SELECT *
FROM raw_scores
WHERE scored_at <= t
QUALIFY row_number() OVER (PARTITION BY case_key ORDER BY scored_at DESC, commit_seq DESC NULLS FIRST) = 1
