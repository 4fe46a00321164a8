-- Grain: one row per image and ROI of a center that is published
SELECT image_key AS key
FROM raw_images
WHERE center = $center
UNION
SELECT roi_key AS key
FROM raw_rois
WHERE center = $center
