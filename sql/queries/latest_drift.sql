-- Grain: one row per center and feature, of the latest monitoring run
SELECT *
FROM drift
WHERE commit_seq = (SELECT max(latest.commit_seq) FROM drift AS latest)
ORDER BY center, feature
