-- Grain: one row per case: its latest score, or why there is none
-- Column: status: scored, abstained or unscored.
-- Column: reason: Why there is no score; not_scored_yet where no run looked.
SELECT
    cases.case_key,
    cases.patient_key,
    cases.center,
    cases.acquired_at,
    scores.probability,
    scores.prediction,
    scores.threshold,
    scores.model_version,
    scores.scored_at,
    coalesce(scores.status, 'unscored') AS status,
    coalesce(scores.reason, 'not_scored_yet') AS reason
FROM cases
LEFT JOIN scores ON cases.case_key = scores.case_key AND scores.is_latest
