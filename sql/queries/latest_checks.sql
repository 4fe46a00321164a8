-- Grain: one row per center, table and expectation of the center's latest check
SELECT *
FROM check_results
QUALIFY commit_seq = max(commit_seq) OVER (PARTITION BY center)
ORDER BY center, relation, expectation
