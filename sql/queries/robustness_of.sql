-- Grain: at most one row: whether a feature set was judged
SELECT feature
FROM feature_robustness
WHERE feature_set_version = $feature_set_version
ORDER BY feature
LIMIT 1
