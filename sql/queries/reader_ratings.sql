-- Grain: two rows per ROI of the given centers that two readers drew, one after the other: the first two by name
WITH rated AS (
    SELECT
        radiomics.*,
        rois.image_key,
        rois.label,
        row_number() OVER (PARTITION BY rois.image_key, rois.label ORDER BY rois.reader) AS reader_number,
        count(*) OVER (PARTITION BY rois.image_key, rois.label) AS readers
    FROM radiomics
    INNER JOIN rois ON radiomics.roi_key = rois.roi_key
    WHERE list_contains($centers::VARCHAR[], rois.center)
)

SELECT *
FROM rated
WHERE readers >= 2 AND reader_number <= 2
ORDER BY image_key, label, reader_number
