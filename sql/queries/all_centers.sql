-- Grain: one row per center and its role now
SELECT
    center,
    role
FROM centers
ORDER BY center
