-- Grain: one row per critical finding of each center's latest check
WITH latest AS (
    SELECT *
    FROM check_results
    QUALIFY commit_seq = max(commit_seq) OVER (PARTITION BY center)
)

SELECT
    relation,
    center,
    expectation,
    observed,
    reason
FROM latest
WHERE severity = 'critical' AND NOT is_success
ORDER BY center, relation, expectation
