-- Grain: one row per staged ROI of some centers
-- Reads: staged
-- What is not a number counts as infinite: an expectation passes over it in silence. Shares are compared with those of
-- the center's published ROIs and one bad one in a hundred beside them, so that a new center has something to go by.
WITH pixels AS (
    SELECT
        roi_key,
        feature_set_version,
        original_firstorder_energy AS energy,
        original_firstorder_skewness AS skewness,
        original_firstorder_minimum AS darkest,
        original_firstorder_median AS middle,
        original_firstorder_maximum AS brightest
    FROM (
        SELECT -- so that a feature set without them answers, too
            NULL::DOUBLE AS original_firstorder_energy,
            NULL::DOUBLE AS original_firstorder_skewness,
            NULL::DOUBLE AS original_firstorder_minimum,
            NULL::DOUBLE AS original_firstorder_median,
            NULL::DOUBLE AS original_firstorder_maximum
        WHERE FALSE
        UNION ALL BY NAME
        SELECT -- by a pattern, as not every feature set has them; all 1,500 would take longer to bind than to read
            COLUMNS(
                '^(roi_key|feature_set_version|commit_seq|computed_at'
                '|original_firstorder_(Energy|Skewness|Minimum|Median|Maximum))$'
            )
        FROM raw_radiomics
    ) AS any_feature_set
    QUALIFY row_number() OVER (PARTITION BY roi_key ORDER BY commit_seq DESC NULLS FIRST, computed_at DESC) = 1
),

known AS (
    SELECT
        rois.*,
        rois.commit_seq IS NULL AS is_staged,
        pixels.energy,
        pixels.skewness,
        pixels.feature_set_version,
        pixels.brightest > pixels.darkest AS has_content,
        coalesce(pixels.brightest = pixels.darkest, FALSE) AS is_blank,
        coalesce(pixels.middle = pixels.brightest AND pixels.brightest > pixels.darkest, FALSE) AS is_saturated
    FROM rois
    LEFT JOIN pixels ON rois.roi_key = pixels.roi_key
),

same_pixels AS (
    SELECT
        feature_set_version,
        energy,
        skewness,
        area_px,
        count(DISTINCT patient_key) AS patients
    FROM known
    WHERE has_content
    GROUP BY feature_set_version, energy, skewness, area_px
),

same_mask AS (
    SELECT
        mask_sha256,
        count(DISTINCT patient_key) AS patients,
        count(DISTINCT patient_key) FILTER (WHERE NOT is_staged) AS patients_before
    FROM known
    GROUP BY mask_sha256
),

own AS (
    SELECT
        known.*,
        same_pixels.patients - 1 AS other_patients,
        if(known.is_staged, same_mask.patients, same_mask.patients_before) > 1 AS is_repeated
    FROM known
    INNER JOIN same_mask ON known.mask_sha256 = same_mask.mask_sha256
    LEFT JOIN same_pixels
        ON
            known.feature_set_version = same_pixels.feature_set_version
            AND known.energy = same_pixels.energy
            AND known.skewness = same_pixels.skewness
            AND known.area_px = same_pixels.area_px
    WHERE list_contains($centers::VARCHAR[], known.center)
),

shares AS (
    SELECT
        center,
        count(*) FILTER (WHERE is_staged) AS rois,
        count(*) FILTER (WHERE NOT is_staged) + 100 AS rois_before,
        count(*) FILTER (WHERE is_staged AND is_blank) AS blank,
        count(*) FILTER (WHERE NOT is_staged AND is_blank) + 1 AS blank_before,
        count(*) FILTER (WHERE is_staged AND is_saturated) AS saturated,
        count(*) FILTER (WHERE NOT is_staged AND is_saturated) + 1 AS saturated_before,
        count(*) FILTER (WHERE is_staged AND is_repeated) AS repeated,
        count(*) FILTER (WHERE NOT is_staged AND is_repeated) + 1 AS repeated_before
    FROM own
    GROUP BY center
)

SELECT
    own.center,
    own.area_px,
    if(isnan(own.area_mm2), 'infinity'::DOUBLE, own.area_mm2) AS area_mm2,
    own.area_px / (images.rows_px * images.columns_px) AS image_fraction,
    (images.image_key IS NOT NULL)::INTEGER AS images,
    own.other_patients,
    shares.blank AS blank_count,
    shares.rois AS blank_of,
    shares.blank_before AS blank_count_before,
    shares.rois_before AS blank_of_before,
    shares.saturated AS saturated_count,
    shares.rois AS saturated_of,
    shares.saturated_before AS saturated_count_before,
    shares.rois_before AS saturated_of_before,
    shares.repeated AS repeated_mask_count,
    shares.rois AS repeated_mask_of,
    shares.repeated_before AS repeated_mask_count_before,
    shares.rois_before AS repeated_mask_of_before
FROM own
INNER JOIN shares ON own.center = shares.center
LEFT JOIN images ON own.image_key = images.image_key
WHERE own.is_staged
