-- Grain: one row, of the commit of a center's latest check; none where there was none
SELECT max(commit_seq) AS commit_seq
FROM check_results
WHERE center = $center
HAVING count(*) > 0
