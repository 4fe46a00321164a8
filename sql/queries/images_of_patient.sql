-- Grain: one row per image of a patient
SELECT
    center,
    image_key
FROM images
WHERE patient_key = $patient_key
ORDER BY center, image_key
