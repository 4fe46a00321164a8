-- Grain: one row per case, with its clinical values and outcome as known at t
-- Macro: cases_as_of(t)
-- Two rows of one commit alike in key and known_at: the later acquired_at counts, then the greater content, so that
-- the answer never depends on the order of rows on disk.
-- The ROI that models use is chosen here and nowhere else: first reader by name, then largest area_px, then key.
WITH rois_then AS (
    SELECT *
    FROM raw_rois
    WHERE known_at <= t
    QUALIFY row_number() OVER (
        PARTITION BY roi_key ORDER BY known_at DESC, commit_seq DESC NULLS FIRST, mask_sha256 DESC
    ) = 1
),

chosen AS (
    SELECT
        case_key,
        patient_key,
        study_key,
        roi_key,
        center,
        acquired_at,
        known_at
    FROM rois_then
    QUALIFY row_number() OVER (PARTITION BY case_key ORDER BY reader, area_px DESC, roi_key) = 1
),

clinical_then AS (
    SELECT *
    FROM raw_clinical
    WHERE known_at <= t
    QUALIFY row_number() OVER (
        PARTITION BY patient_key, study_key
        ORDER BY known_at DESC, commit_seq DESC NULLS FIRST, acquired_at DESC NULLS LAST, raw_clinical::VARCHAR DESC
    ) = 1
),

-- A row that names the study speaks before one that names only the patient. One row per case goes through both steps, and
-- no condition through their windows: so DuckDB expects few cases, and does not keep all features in memory to join them.
with_clinical AS (
    SELECT
        chosen.*,
        clinical_then.known_at AS clinical_known_at,
        clinical_then.* EXCLUDE (
            patient_key, study_key, center, acquired_at, known_at, run_id, code_version, config_hash, commit_seq
        )
    FROM chosen
    LEFT JOIN clinical_then
        ON
            chosen.patient_key = clinical_then.patient_key
            AND (clinical_then.study_key IS NULL OR clinical_then.study_key = chosen.study_key)
    QUALIFY row_number() OVER (
        PARTITION BY chosen.case_key
        ORDER BY clinical_then.study_key IS NULL
    ) = 1
),

with_outcome AS (
    SELECT
        with_clinical.*,
        raw_outcomes.value AS {{ outcome }},
        raw_outcomes.known_at AS outcome_known_at
    FROM with_clinical
    LEFT JOIN raw_outcomes
        ON
            with_clinical.patient_key = raw_outcomes.patient_key
            AND (raw_outcomes.study_key IS NULL OR raw_outcomes.study_key = with_clinical.study_key)
            AND raw_outcomes.known_at <= t
    QUALIFY row_number() OVER (
        PARTITION BY with_clinical.case_key
        ORDER BY
            raw_outcomes.study_key IS NULL, raw_outcomes.known_at DESC, raw_outcomes.commit_seq DESC NULLS FIRST,
            raw_outcomes.acquired_at DESC NULLS LAST, raw_outcomes.value DESC
    ) = 1
),

roles AS (
    SELECT
        center,
        role
    FROM raw_centers
    QUALIFY row_number() OVER (PARTITION BY center ORDER BY known_at DESC, commit_seq DESC NULLS FIRST) = 1
)

SELECT
    with_outcome.case_key,
    with_outcome.patient_key,
    with_outcome.study_key,
    with_outcome.roi_key,
    with_outcome.center,
    roles.role,
    with_outcome.acquired_at,
    with_outcome.* EXCLUDE (
        case_key, patient_key, study_key, roi_key, center, acquired_at, known_at, clinical_known_at, outcome_known_at
    ),
    greatest(
        with_outcome.known_at, with_outcome.clinical_known_at, with_outcome.outcome_known_at
    ) AS known_at
FROM with_outcome
LEFT JOIN roles ON with_outcome.center = roles.center
