-- Grain: one row per case that the latest run touched, with its score or the reason there is none
SELECT
    scores.case_key,
    scores.center,
    scores.status,
    scores.reason,
    scores.probability,
    scores.prediction,
    scores.model_version,
    scores.scored_at
FROM scores
WHERE scores.scored_at = (SELECT max(latest.scored_at) FROM scores AS latest)
