-- Grain: at most one row: on how many ROIs a feature set was judged, and whether that was enough for a verdict
SELECT
    max(n) AS n,
    bool_or(is_robust IS NOT NULL) AS is_judged
FROM feature_robustness
WHERE feature_set_version = $feature_set_version
HAVING count(*) > 0
