-- Grain: one row per feature that was judged not robust
SELECT feature
FROM feature_robustness
WHERE NOT is_robust
ORDER BY feature
