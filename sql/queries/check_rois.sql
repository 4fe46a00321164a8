-- Grain: one row per staged ROI of a center
-- Reads: staged
SELECT
    rois.area_px,
    rois.area_mm2,
    rois.area_px / (images.rows_px * images.columns_px) AS image_fraction,
    (images.image_key IS NOT NULL)::INTEGER AS images
FROM raw_rois AS rois
LEFT JOIN images ON rois.image_key = images.image_key
WHERE rois.center = $center AND rois.commit_seq IS NULL
