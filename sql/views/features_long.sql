-- Grain: one row per ROI and feature
-- Column: feature: Radiomics column.
-- Column: value: The feature's value; a ROI without it has no row.
SELECT
    roi_key,
    case_key,
    center,
    feature,
    value
FROM (
    UNPIVOT (
        SELECT
            * EXCLUDE (
                acquired_at, known_at, computed_at, feature_set_version, engine, run_id, code_version, config_hash, commit_seq
            ),
            NULL::DOUBLE AS no_feature -- so that a store without features answers, too; UNPIVOT leaves nulls out
        FROM features_as_of(TIMESTAMPTZ 'infinity')
    )
    ON COLUMNS(* EXCLUDE (roi_key, case_key, center))
    INTO NAME feature VALUE value
)
