-- Grain: one row per center, of the latest monitoring run
SELECT
    center,
    verdict,
    n_features_tested,
    n_features_drifted,
    n_new_cases
FROM center_health
WHERE commit_seq = (SELECT max(latest.commit_seq) FROM center_health AS latest)
ORDER BY center
