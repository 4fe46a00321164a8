-- Grain: one row per other case, nearest embedding first (cosine distance to the given case)
-- Macro: nearest_cases(wanted_case)
SELECT
    other.case_key,
    other.center,
    list_cosine_distance(other.embedding, wanted.embedding) AS distance
FROM deep AS wanted
INNER JOIN cases AS wanted_cases ON wanted.roi_key = wanted_cases.roi_key
INNER JOIN deep AS other ON wanted.roi_key <> other.roi_key
INNER JOIN cases AS other_cases ON other.roi_key = other_cases.roi_key
WHERE wanted_cases.case_key = wanted_case
ORDER BY distance, other.case_key
