-- Grain: one row per accepted image
SELECT *
FROM raw_images
QUALIFY row_number() OVER (
    PARTITION BY image_key ORDER BY known_at DESC, commit_seq DESC NULLS FIRST, sha256 DESC
) = 1
