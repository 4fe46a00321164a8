-- Grain: one row per relation with staged rows of a center
-- Reads: staged
SELECT
    'images' AS relation,
    count(*) AS rows
FROM raw_images
WHERE center = $center AND commit_seq IS NULL
UNION ALL
SELECT
    'rois' AS relation,
    count(*) AS rows
FROM raw_rois
WHERE center = $center AND commit_seq IS NULL
UNION ALL
SELECT
    'clinical' AS relation,
    count(*) AS rows
FROM raw_clinical
WHERE center = $center AND commit_seq IS NULL
UNION ALL
SELECT
    'outcomes' AS relation,
    count(*) AS rows
FROM raw_outcomes
WHERE center = $center AND commit_seq IS NULL
UNION ALL
SELECT
    'radiomics' AS relation,
    count(*) AS rows
FROM raw_radiomics
WHERE center = $center AND commit_seq IS NULL
UNION ALL
SELECT
    'deep' AS relation,
    count(*) AS rows
FROM raw_deep
WHERE center = $center AND commit_seq IS NULL
