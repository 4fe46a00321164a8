-- Grain: one row per ROI known at t, radiomics of the feature set computed last
-- Macro: features_as_of(t)
-- A ROI is of one center: named in the partition, a question about one center reads that center's files alone.
WITH current_version AS (
    SELECT feature_set_version
    FROM raw_radiomics_clocks
    WHERE known_at <= t
    ORDER BY commit_seq DESC NULLS FIRST, computed_at DESC, feature_set_version DESC
    LIMIT 1
),

current_rows AS (
    SELECT
        known.center,
        known.roi_key,
        known.known_at,
        known.commit_seq,
        known.computed_at,
        known.feature_set_version
    FROM raw_radiomics_clocks AS known
    INNER JOIN current_version ON known.feature_set_version = current_version.feature_set_version
    WHERE known.known_at <= t
    QUALIFY row_number() OVER (
        PARTITION BY known.center, known.roi_key
        ORDER BY known.known_at DESC, known.commit_seq DESC NULLS FIRST, known.computed_at DESC
    ) = 1
)

SELECT known.*
FROM raw_radiomics AS known
SEMI JOIN current_rows
    ON
        known.center = current_rows.center
        AND known.roi_key = current_rows.roi_key
        AND known.known_at = current_rows.known_at
        AND known.commit_seq IS NOT DISTINCT FROM current_rows.commit_seq
        AND known.computed_at = current_rows.computed_at
        AND known.feature_set_version = current_rows.feature_set_version
