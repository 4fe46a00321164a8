-- Grain: one row per critical finding of each center's latest check
SELECT
    relation,
    center,
    expectation,
    observed,
    reason
FROM check_results
WHERE severity = 'critical' AND NOT is_success
QUALIFY commit_seq = max(commit_seq) OVER (PARTITION BY center)
ORDER BY center, relation, expectation
