-- Grain: one row per center, of the latest monitoring run
SELECT
    center,
    verdict,
    p_value,
    n_features_tested,
    n_features_drifted,
    n_new_cases,
    n_quarantined
FROM center_health
WHERE is_latest
ORDER BY center
