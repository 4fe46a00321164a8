-- Grain: one row per center and feature: how far the outcome's two groups lie apart, in pooled standard deviations
-- Column: n_positive: ROIs of cases with a positive outcome.
-- Column: n_negative: ROIs of cases with a negative outcome.
-- Column: standardised_difference: Mean of the positive minus mean of the negative, over the pooled standard deviation.
SELECT
    features_long.center,
    features_long.feature,
    count(*) FILTER (WHERE cases.{{ outcome }}) AS n_positive,
    count(*) FILTER (WHERE NOT cases.{{ outcome }}) AS n_negative,
    (
        avg(features_long.value) FILTER (WHERE cases.{{ outcome }})
        - avg(features_long.value) FILTER (WHERE NOT cases.{{ outcome }})
    ) / nullif(
        sqrt((
            var_samp(features_long.value) FILTER (WHERE cases.{{ outcome }})
            + var_samp(features_long.value) FILTER (WHERE NOT cases.{{ outcome }})
        ) / 2), 0
    ) AS standardised_difference
FROM features_long
INNER JOIN cases ON features_long.roi_key = cases.roi_key
WHERE cases.{{ outcome }} IS NOT NULL AND isfinite(features_long.value)
GROUP BY features_long.center, features_long.feature
