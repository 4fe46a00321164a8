-- Grain: one row per center and metric, of the latest monitoring run
SELECT *
FROM performance
WHERE commit_seq = (SELECT max(latest.commit_seq) FROM performance AS latest)
ORDER BY center, metric
