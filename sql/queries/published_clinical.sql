-- Grain: one row per clinical row of a center that is published, corrections among them
SELECT *
FROM raw_clinical
WHERE center = $center
