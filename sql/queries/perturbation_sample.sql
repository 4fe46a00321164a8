-- Grain: one row per sampled case of the given centers: evenly spread over the time of acquisition
WITH numbered AS (
    SELECT
        cases.roi_key,
        rois.image_key,
        images.spacing_x_mm,
        images.spacing_y_mm,
        cases.center,
        row_number() OVER (PARTITION BY cases.center ORDER BY cases.acquired_at, cases.roi_key) - 1 AS place,
        count(*) OVER (PARTITION BY cases.center) AS n_cases
    FROM cases
    INNER JOIN rois ON cases.roi_key = rois.roi_key
    INNER JOIN images ON rois.image_key = images.image_key
    INNER JOIN radiomics ON cases.roi_key = radiomics.roi_key
    WHERE list_contains($centers::VARCHAR[], cases.center)
)

SELECT
    roi_key,
    image_key,
    spacing_x_mm,
    spacing_y_mm
FROM numbered
WHERE place * $per_center // n_cases <> (place - 1) * $per_center // n_cases OR place = 0
ORDER BY center, place
