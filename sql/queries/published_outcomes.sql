-- Grain: one row per answer of a center that is published, corrections among them
SELECT *
FROM raw_outcomes
WHERE center = $center
