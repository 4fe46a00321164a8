-- Grain: one row per center, feature and month of acquisition
-- Column: month: Month of acquisition (UTC), by its first day.
-- Column: n: ROIs with a finite value.
-- Column: median: Median of the feature.
-- Column: first_quartile: Lower quartile of the feature.
-- Column: third_quartile: Upper quartile of the feature.
SELECT
    features_long.center,
    features_long.feature,
    date_trunc('month', cases.acquired_at) AS month,
    count(*) AS n,
    median(features_long.value) AS median,
    quantile_cont(features_long.value, 0.25) AS first_quartile,
    quantile_cont(features_long.value, 0.75) AS third_quartile
FROM features_long
INNER JOIN cases ON features_long.roi_key = cases.roi_key
WHERE isfinite(features_long.value)
GROUP BY features_long.center, features_long.feature, date_trunc('month', cases.acquired_at)
