-- Grain: one row per feature of a center's ROIs
-- Reads: staged
SELECT
    feature,
    count(*) AS n,
    avg((NOT isfinite(value))::INTEGER) AS nonfinite_fraction,
    (count(*) >= 10 AND bool_and(value = 0))::INTEGER AS is_all_zero
FROM features_long
WHERE center = $center
GROUP BY feature
