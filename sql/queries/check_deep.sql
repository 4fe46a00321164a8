-- Grain: one row per staged embedding of a center
-- Reads: staged
SELECT
    sqrt(list_sum([x * x FOR x IN embedding])) AS norm,
    count(DISTINCT len(embedding)) OVER () AS lengths
FROM raw_deep
WHERE center = $center AND commit_seq IS NULL
