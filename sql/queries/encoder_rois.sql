-- Grain: one row per case of the train centers: the ROI that models use
-- Reads: staged
SELECT
    cases.roi_key,
    rois.image_key,
    images.spacing_x_mm,
    images.spacing_y_mm
FROM cases
INNER JOIN rois ON cases.roi_key = rois.roi_key
INNER JOIN images ON rois.image_key = images.image_key
WHERE list_contains($centers::VARCHAR[], cases.center)
ORDER BY cases.center, cases.acquired_at, cases.roi_key
