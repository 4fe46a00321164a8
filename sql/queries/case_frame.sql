-- Grain: one row per case (of one center, or of all), with its latest score
SELECT
    frame.*,
    scores.probability,
    scores.status AS score_status
FROM case_frame_as_of($as_of::TIMESTAMPTZ) AS frame
LEFT JOIN scores ON frame.case_key = scores.case_key AND scores.is_latest
WHERE $center::VARCHAR IS NULL OR frame.center = $center
ORDER BY frame.case_key
