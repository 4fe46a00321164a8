-- Grain: one row per feature of a center's staged ROIs
-- Reads: staged
-- A value that is missing or not a number is bad; missing for want of a spacing is not. The batch is compared with the
-- center's latest 500 ROIs of the same feature set version, and one bad value in a hundred beside them.
WITH batch AS (
    SELECT DISTINCT feature_set_version
    FROM raw_radiomics
    WHERE center = $center AND commit_seq IS NULL
),

latest AS (
    SELECT roi_key
    FROM raw_radiomics
    WHERE center = $center AND commit_seq IS NOT NULL
    ORDER BY known_at DESC, commit_seq DESC, roi_key ASC
    LIMIT 500
),

own AS (
    SELECT
        radiomics.*,
        radiomics.commit_seq IS NULL AS is_staged,
        coalesce(rois.area_mm2 IS NOT NULL, FALSE) AS has_spacing
    FROM raw_radiomics AS radiomics
    INNER JOIN batch ON radiomics.feature_set_version = batch.feature_set_version
    LEFT JOIN rois ON radiomics.roi_key = rois.roi_key
    WHERE
        radiomics.center = $center
        AND (radiomics.commit_seq IS NULL OR radiomics.roi_key IN (SELECT latest.roi_key FROM latest))
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
HAVING bool_or(is_staged)
ORDER BY feature
