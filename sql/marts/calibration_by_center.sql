-- Grain: one row per center: what was predicted against what came, for cases with a known outcome
-- A center of role `train` shows how well the model remembers: it was fitted on these very cases.
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
