-- Grain: one row per external case with a known outcome and a score of the champion
-- Column: outcome: The outcome.
SELECT
    cases.center,
    cases.{{ outcome }} AS outcome,
    scores.probability
FROM cases
INNER JOIN scores ON cases.case_key = scores.case_key AND scores.is_latest
WHERE cases.role = 'external' AND cases.{{ outcome }} IS NOT NULL AND scores.status = 'scored'
ORDER BY cases.case_key
