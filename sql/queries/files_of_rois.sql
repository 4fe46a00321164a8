-- Grain: one row per file that an image of the asked ROIs, or a mask on it, came from
SELECT DISTINCT files.file_key
FROM files
INNER JOIN rois ON files.image_key = rois.image_key
WHERE list_contains($roi_keys::VARCHAR[], rois.roi_key)
