-- Grain: one row per image of a patient, older versions among them
-- Reads: staged
SELECT DISTINCT
    center,
    image_key
FROM raw_images
WHERE patient_key = $patient_key
ORDER BY center, image_key
