-- Grain: one row per ROI of a center that lacks features of the current sets and is not in quarantine
-- Reads: staged
-- A mask that was drawn again has a later known_at than the features of the old one, and its pixels are the ones that are
-- kept: looking back it is left alone. A backfill that is tried again inside
-- one run goes on where it was: what that run has computed is not computed twice.
WITH set_aside AS (
    SELECT item_key
    FROM quarantine
    WHERE kind = 'roi' AND resolved_at IS NULL
),

wanted AS (
    SELECT
        *,
        coalesce(
            $is_backfill::BOOLEAN
            AND acquired_at >= coalesce($since::TIMESTAMPTZ, '-infinity')
            AND acquired_at < coalesce($until::TIMESTAMPTZ, 'infinity'),
            FALSE
        ) AS is_again
    FROM rois
    WHERE
        center = $center
        AND known_at <= $as_of::TIMESTAMPTZ
        AND roi_key NOT IN (SELECT set_aside.item_key FROM set_aside)
),

needs AS (
    SELECT
        rois.roi_key,
        rois.image_key,
        rois.case_key,
        rois.acquired_at,
        rois.known_at,
        NOT EXISTS (
            SELECT 1
            FROM raw_radiomics_clocks
            WHERE
                raw_radiomics_clocks.roi_key = rois.roi_key
                AND raw_radiomics_clocks.known_at = rois.known_at
                AND raw_radiomics_clocks.feature_set_version = $radiomics_version
                AND (NOT rois.is_again OR raw_radiomics_clocks.computed_at = $started_at::TIMESTAMPTZ)
        ) AS needs_radiomics,
        $deep_version::VARCHAR IS NOT NULL AND NOT EXISTS (
            SELECT 1
            FROM raw_deep_clocks
            WHERE
                raw_deep_clocks.roi_key = rois.roi_key
                AND raw_deep_clocks.known_at = rois.known_at
                AND raw_deep_clocks.feature_set_version = $deep_version
                AND (NOT rois.is_again OR raw_deep_clocks.computed_at = $started_at::TIMESTAMPTZ)
        ) AS needs_deep
    FROM wanted AS rois
)

SELECT
    needs.*,
    images.spacing_x_mm,
    images.spacing_y_mm
FROM needs
INNER JOIN images ON needs.image_key = images.image_key
WHERE needs.needs_radiomics OR needs.needs_deep
ORDER BY needs.roi_key
