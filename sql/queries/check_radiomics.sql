-- Grain: one row per feature of a center's staged ROIs
-- Reads: staged
-- A value that is missing or not a number is bad; missing for want of a spacing is not. The batch is compared with the
-- center's latest 500 ROIs of the same feature set version, and one bad value in a hundred beside them.
-- A column without any value in this version is of another one: a feature that the parameters no longer ask for.
-- The wide table is named once: to open its 1,500 columns takes longer than to read them.
WITH latest AS (
    SELECT
        *,
        commit_seq IS NULL AS is_staged
    FROM raw_radiomics
    WHERE center = $center
    QUALIFY
        commit_seq IS NULL
        OR (
            count(*) FILTER (WHERE commit_seq IS NULL) OVER (PARTITION BY feature_set_version) > 0
            AND row_number() OVER (
                PARTITION BY feature_set_version, commit_seq IS NULL ORDER BY known_at DESC, commit_seq DESC, roi_key ASC
            ) <= 500
        )
),

own AS (
    SELECT
        latest.*,
        coalesce(rois.area_mm2 IS NOT NULL, FALSE) AS has_spacing
    FROM latest
    LEFT JOIN rois ON latest.roi_key = rois.roi_key
),

features AS (
    SELECT
        * EXCLUDE (
            roi_key, case_key, center, acquired_at, known_at, computed_at, feature_set_version, engine, run_id,
            code_version, config_hash, commit_seq
        ),
        NULL::DOUBLE AS no_feature -- so that a store without features answers, too
    FROM own
),

cells AS (
    SELECT *
    FROM features UNPIVOT INCLUDE NULLS (value FOR feature IN (COLUMNS(* EXCLUDE (is_staged, has_spacing))))
    WHERE (value IS NOT NULL OR has_spacing) AND feature <> 'no_feature'
)

SELECT
    feature,
    count(*) FILTER (WHERE is_staged) AS bad_of,
    count(*) FILTER (WHERE is_staged AND NOT coalesce(isfinite(value), FALSE)) AS bad_count,
    count(*) FILTER (WHERE NOT is_staged) + 100 AS bad_of_before,
    count(*) FILTER (WHERE NOT is_staged AND NOT coalesce(isfinite(value), FALSE)) + 1 AS bad_count_before,
    coalesce(avg((NOT isfinite(value))::INTEGER) FILTER (WHERE is_staged), 0) AS nonfinite_fraction,
    (count(*) >= 10 AND coalesce(bool_and(value = 0), FALSE))::INTEGER AS is_all_zero
FROM cells
GROUP BY feature
HAVING bool_or(is_staged) AND count(value) > 0
ORDER BY feature
