-- Grain: one row per center and feature: how far the outcome's two groups lie apart, in pooled standard deviations
-- Cohen's d with its large-sample 95 % interval (Hedges and Olkin 1985, chapter 5, formula 8).
-- Column: n_positive: ROIs of cases with a positive outcome.
-- Column: n_negative: ROIs of cases with a negative outcome.
-- Column: standardised_difference: Mean of the positive minus mean of the negative, over the pooled standard deviation.
-- Column: ci_low: Lower end of the 95 % interval.
-- Column: ci_high: Upper end of the 95 % interval.
WITH groups AS (
    SELECT
        features_long.center,
        features_long.feature,
        count(*) FILTER (WHERE cases.{{ outcome }}) AS n_positive,
        count(*) FILTER (WHERE NOT cases.{{ outcome }}) AS n_negative,
        avg(features_long.value) FILTER (WHERE cases.{{ outcome }}) AS mean_positive,
        avg(features_long.value) FILTER (WHERE NOT cases.{{ outcome }}) AS mean_negative,
        var_samp(features_long.value) FILTER (WHERE cases.{{ outcome }}) AS variance_positive,
        var_samp(features_long.value) FILTER (WHERE NOT cases.{{ outcome }}) AS variance_negative
    FROM features_long
    INNER JOIN cases ON features_long.roi_key = cases.roi_key
    WHERE cases.{{ outcome }} IS NOT NULL AND isfinite(features_long.value)
    GROUP BY features_long.center, features_long.feature
),

differences AS (
    SELECT
        *,
        (mean_positive - mean_negative) / nullif(sqrt((
            (n_positive - 1) * variance_positive + (n_negative - 1) * variance_negative
        ) / nullif(n_positive + n_negative - 2, 0)), 0) AS standardised_difference
    FROM groups
),

errors AS (
    SELECT
        *,
        sqrt(
            (n_positive + n_negative) / (n_positive * n_negative)
            + standardised_difference ** 2 / (2 * (n_positive + n_negative))
        ) AS standard_error
    FROM differences
    WHERE n_positive > 1 AND n_negative > 1
)

SELECT
    center,
    feature,
    n_positive,
    n_negative,
    standardised_difference,
    standardised_difference - 1.959964 * standard_error AS ci_low,
    standardised_difference + 1.959964 * standard_error AS ci_high
FROM errors
