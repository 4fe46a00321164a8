-- Grain: one row per case (of one center, or of all), with its latest score, as of a moment
SELECT
    frame.*,
    scores_then.probability,
    scores_then.status AS score_status
FROM case_frame_as_of($as_of::TIMESTAMPTZ) AS frame
LEFT JOIN scores_as_of($as_of::TIMESTAMPTZ) AS scores_then ON frame.case_key = scores_then.case_key
WHERE $center::VARCHAR IS NULL OR frame.center = $center
ORDER BY frame.case_key
