-- Grain: one row per ROI and reader
SELECT *
FROM raw_rois
QUALIFY row_number() OVER (
    PARTITION BY roi_key ORDER BY known_at DESC, commit_seq DESC NULLS FIRST, mask_sha256 DESC
) = 1
