-- Grain: one row per image and ROI of a center that waits for the gate
-- Reads: staged
SELECT image_key AS key
FROM raw_images
WHERE center = $center AND commit_seq IS NULL
UNION
SELECT roi_key AS key
FROM raw_rois
WHERE center = $center AND commit_seq IS NULL
