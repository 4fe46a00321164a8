-- Grain: one row per ROI of a patient
-- Reads: staged
SELECT
    roi_key,
    image_key,
    case_key
FROM raw_rois
WHERE patient_key = $patient_key
ORDER BY roi_key
