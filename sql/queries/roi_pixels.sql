-- Grain: one row per asked ROI: its image and spacing
SELECT
    rois.roi_key,
    rois.image_key,
    images.spacing_x_mm,
    images.spacing_y_mm
FROM rois
INNER JOIN images ON rois.image_key = images.image_key
WHERE list_contains($roi_keys::VARCHAR[], rois.roi_key)
