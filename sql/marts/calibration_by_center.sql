-- Grain: one row per center: what was predicted against what came, for cases with a known outcome
-- A center of role `train` shows how well the model remembers: it was fitted on these very cases.
-- Column: n: Cases with a score and a known outcome.
-- Column: n_events: Positive outcomes among them.
-- Column: mean_predicted: Mean predicted probability.
-- Column: observed_fraction: Fraction of positive outcomes.
-- Column: observed_to_expected: Positive outcomes that came, over those predicted; 1 is right.
SELECT
    cases.center,
    cases.role,
    count(*) AS n,
    count(*) FILTER (WHERE cases.{{ outcome }}) AS n_events,
    avg(scores.probability) AS mean_predicted,
    avg(cases.{{ outcome }}::INTEGER) AS observed_fraction,
    sum(cases.{{ outcome }}::INTEGER) / nullif(sum(scores.probability), 0) AS observed_to_expected
FROM cases
INNER JOIN scores ON cases.case_key = scores.case_key AND scores.is_latest
WHERE cases.{{ outcome }} IS NOT NULL AND scores.status = 'scored'
GROUP BY cases.center, cases.role
