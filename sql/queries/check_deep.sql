-- Grain: one row per staged embedding of a center
-- Reads: staged
-- What is not a number counts as infinite, what is empty as nothing: an expectation passes over both in silence.
WITH norms AS (
    SELECT
        coalesce(sqrt(list_sum([x * x FOR x IN embedding])), 0) AS norm,
        count(DISTINCT len(embedding)) OVER () AS lengths
    FROM raw_deep
    WHERE center = $center AND commit_seq IS NULL
)

SELECT
    if(isnan(norms.norm), 'infinity'::DOUBLE, norms.norm) AS norm,
    norms.lengths
FROM norms
