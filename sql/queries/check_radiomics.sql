-- Grain: one row per center and feature of its staged ROIs
-- Reads: staged
-- A value that is missing or not a number is bad; missing for want of a spacing is not. The batch is compared with the
-- center's latest 500 ROIs of the same feature set version, and one bad value in a hundred beside them.
-- A column without any value in this version is of another one, a feature that the parameters no longer ask for, unless
-- the staged rows have it ($features, as center:feature): then all of its values are missing.
-- A feature is the same for every ROI where ten staged ones say one value: held against 20 ROIs of before, or, as nothing
-- may be known of before, where half of the features do so at once.
-- The wide rows are named once, after it is known which: to bind 1,500 columns takes longer than to read them.
WITH latest AS (
    SELECT
        roi_key,
        feature_set_version,
        commit_seq
    FROM raw_radiomics_clocks
    WHERE list_contains($centers::VARCHAR[], center)
    QUALIFY
        commit_seq IS NULL
        OR (
            count(*) FILTER (WHERE commit_seq IS NULL) OVER (PARTITION BY center, feature_set_version) > 0
            AND row_number() OVER (
                PARTITION BY center, feature_set_version, commit_seq IS NULL
                ORDER BY known_at DESC, commit_seq DESC, roi_key ASC
            ) <= 500
        )
),

features AS (
    SELECT
        wide.* EXCLUDE (
            roi_key, case_key, acquired_at, known_at, computed_at, feature_set_version, engine, run_id,
            code_version, config_hash, commit_seq
        ),
        wide.commit_seq IS NULL AS is_staged,
        coalesce(rois.area_mm2 IS NOT NULL, FALSE) AS has_spacing,
        NULL::DOUBLE AS no_feature -- so that a store without features answers, too
    FROM raw_radiomics AS wide
    LEFT JOIN rois ON wide.roi_key = rois.roi_key
    SEMI JOIN latest
        ON
            wide.roi_key = latest.roi_key
            AND wide.feature_set_version = latest.feature_set_version
            AND wide.commit_seq IS NOT DISTINCT FROM latest.commit_seq
    WHERE list_contains($centers::VARCHAR[], wide.center)
),

cells AS (
    SELECT *
    FROM features UNPIVOT INCLUDE NULLS (value FOR feature IN (COLUMNS(* EXCLUDE (center, is_staged, has_spacing))))
    WHERE (value IS NOT NULL OR has_spacing) AND feature <> 'no_feature'
),

counts AS (
    SELECT
        center,
        feature,
        count(*) FILTER (WHERE is_staged) AS rows_now,
        count(*) FILTER (WHERE is_staged AND NOT coalesce(isfinite(value), FALSE)) AS bad_now,
        count(*) FILTER (WHERE NOT is_staged) AS rows_before,
        count(*) FILTER (WHERE NOT is_staged AND NOT coalesce(isfinite(value), FALSE)) AS bad_before,
        coalesce(avg((NOT isfinite(value))::INTEGER) FILTER (WHERE is_staged), 0) AS nonfinite_fraction,
        count(value) AS values_there,
        coalesce(bool_and(value = 0), FALSE) AS is_zero,
        min(value) FILTER (WHERE is_staged) AS lowest_now,
        count(value) FILTER (WHERE is_staged) >= 10
        AND min(value) FILTER (WHERE is_staged) = max(value) FILTER (WHERE is_staged) AS is_same_now,
        list(value) FILTER (WHERE NOT is_staged) AS values_before
    FROM cells
    GROUP BY center, feature
),

judged AS (
    SELECT
        *,
        len(list_filter(values_before, LAMBDA before: before = lowest_now)) AS same_before
    FROM counts
    WHERE rows_now > 0 AND (values_there > 0 OR list_contains($features::VARCHAR[], concat(center, ':', feature)))
)

SELECT
    center,
    feature,
    rows_now AS bad_of,
    bad_now AS bad_count,
    rows_before + 100 AS bad_of_before,
    bad_before + 1 AS bad_count_before,
    if(is_same_now AND rows_before >= 20, rows_now, NULL) AS same_count,
    rows_now AS same_of,
    coalesce(same_before, 0) AS same_count_before,
    rows_before AS same_of_before,
    -- of ten features at least, those that are the same for every ROI and were not so before
    if(
        count(*) OVER own >= 10,
        avg((is_same_now AND coalesce(same_before, 0) < greatest(rows_before, 1))::INTEGER) OVER own,
        0
    ) AS same_fraction,
    nonfinite_fraction,
    (rows_now + rows_before >= 10 AND is_zero)::INTEGER AS is_all_zero
FROM judged
WINDOW own AS (PARTITION BY center)
ORDER BY center, feature
