-- Grain: one row per staged ROI of a center
-- Reads: staged
-- What is not a number counts as infinite: an expectation passes over it in silence.
SELECT
    rois.area_px,
    if(isnan(rois.area_mm2), 'infinity'::DOUBLE, rois.area_mm2) AS area_mm2,
    rois.area_px / (images.rows_px * images.columns_px) AS image_fraction,
    (images.image_key IS NOT NULL)::INTEGER AS images
FROM raw_rois AS rois
LEFT JOIN images ON rois.image_key = images.image_key
WHERE rois.center = $center AND rois.commit_seq IS NULL
