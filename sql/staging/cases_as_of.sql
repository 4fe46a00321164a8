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

-- A row that names the study speaks before one that names only the patient.
clinical_of_case AS (
    SELECT
        chosen.case_key,
        clinical_then.known_at AS clinical_known_at,
        clinical_then.* EXCLUDE (
            patient_key, study_key, center, acquired_at, known_at, run_id, code_version, config_hash, commit_seq
        )
    FROM chosen
    INNER JOIN clinical_then
        ON
            chosen.patient_key = clinical_then.patient_key
            AND (clinical_then.study_key IS NULL OR clinical_then.study_key = chosen.study_key)
    QUALIFY row_number() OVER (
        PARTITION BY chosen.case_key
        ORDER BY clinical_then.study_key IS NULL
    ) = 1
),

outcome_of_case AS (
    SELECT
        chosen.case_key,
        raw_outcomes.value,
        raw_outcomes.known_at AS outcome_known_at
    FROM chosen
    INNER JOIN raw_outcomes
        ON
            chosen.patient_key = raw_outcomes.patient_key
            AND (raw_outcomes.study_key IS NULL OR raw_outcomes.study_key = chosen.study_key)
    WHERE raw_outcomes.known_at <= t
    QUALIFY row_number() OVER (
        PARTITION BY chosen.case_key
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
    chosen.case_key,
    chosen.patient_key,
    chosen.study_key,
    chosen.roi_key,
    chosen.center,
    roles.role,
    chosen.acquired_at,
    clinical_of_case.* EXCLUDE (case_key, clinical_known_at),
    outcome_of_case.value AS {{ outcome }},
    greatest(chosen.known_at, clinical_of_case.clinical_known_at, outcome_of_case.outcome_known_at) AS known_at
FROM chosen
LEFT JOIN roles ON chosen.center = roles.center
LEFT JOIN clinical_of_case ON chosen.case_key = clinical_of_case.case_key
LEFT JOIN outcome_of_case ON chosen.case_key = outcome_of_case.case_key
