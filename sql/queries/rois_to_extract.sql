-- Grain: one row per ROI of a center that lacks features of the current sets and is not in quarantine
-- Reads: staged
WITH have_radiomics AS (
    SELECT roi_key FROM raw_radiomics WHERE feature_set_version = $radiomics_version
),

have_deep AS (
    SELECT roi_key FROM raw_deep WHERE feature_set_version = $deep_version
),

set_aside AS (
    SELECT item_key FROM quarantine WHERE kind = 'roi' AND resolved_at IS NULL
)

SELECT
    rois.roi_key,
    rois.image_key,
    rois.case_key,
    rois.acquired_at,
    rois.known_at,
    images.spacing_x_mm,
    images.spacing_y_mm,
    rois.roi_key NOT IN (SELECT have_radiomics.roi_key FROM have_radiomics) AS needs_radiomics,
    $deep_version::VARCHAR IS NOT NULL AND rois.roi_key NOT IN (SELECT have_deep.roi_key FROM have_deep) AS needs_deep
FROM rois
INNER JOIN images ON rois.image_key = images.image_key
WHERE
    rois.center = $center
    AND rois.roi_key NOT IN (SELECT set_aside.item_key FROM set_aside)
    AND (needs_radiomics OR needs_deep)
ORDER BY rois.roi_key
