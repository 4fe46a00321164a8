-- Grain: one row per staged embedding of some centers
-- Reads: staged
-- What is not a number counts as infinite, what is empty as nothing: an expectation passes over both in silence.
-- Embeddings are compared with those of the center's other pictures by the same network: one that came twice is told by
-- its file, so here it is another picture that looks alike to the last bit.
WITH embeddings AS (
    SELECT
        deep.center,
        deep.embedding,
        deep.commit_seq,
        hash(deep.feature_set_version, deep.embedding) AS look,
        images.sha256
    FROM raw_deep AS deep
    LEFT JOIN rois ON deep.roi_key = rois.roi_key
    LEFT JOIN images ON rois.image_key = images.image_key
    WHERE list_contains($centers::VARCHAR[], deep.center)
),

looks AS (
    SELECT
        center,
        look,
        count(DISTINCT sha256) AS pictures
    FROM embeddings
    GROUP BY center, look
),

staged AS (
    SELECT
        embeddings.center,
        coalesce(sqrt(list_sum([x * x FOR x IN embeddings.embedding])), 0) AS norm,
        count(DISTINCT len(embeddings.embedding)) OVER (PARTITION BY embeddings.center) AS lengths,
        looks.pictures
    FROM embeddings
    INNER JOIN looks ON embeddings.center = looks.center AND embeddings.look = looks.look
    WHERE embeddings.commit_seq IS NULL
)

SELECT
    center,
    if(isnan(norm), 'infinity'::DOUBLE, norm) AS norm,
    lengths,
    pictures,
    if(count(*) OVER own >= 10, avg((pictures > 1)::INTEGER) OVER own, 0) AS alike_fraction
FROM staged
WINDOW own AS (PARTITION BY center)
