-- Grain: one row per case (of one center, or of all), with its latest score, as of a moment
WITH scores_then AS (
    SELECT
        case_key,
        probability,
        status
    FROM raw_scores
    WHERE scored_at <= $as_of::TIMESTAMPTZ
    QUALIFY row_number() OVER (PARTITION BY case_key ORDER BY scored_at DESC, commit_seq DESC NULLS FIRST) = 1
)

SELECT
    frame.*,
    scores_then.probability,
    scores_then.status AS score_status
FROM case_frame_as_of($as_of::TIMESTAMPTZ) AS frame
LEFT JOIN scores_then ON frame.case_key = scores_then.case_key
WHERE $center::VARCHAR IS NULL OR frame.center = $center
ORDER BY frame.case_key
