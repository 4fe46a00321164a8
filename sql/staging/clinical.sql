-- Grain: one row per patient or study with clinical values, as known now
SELECT *
FROM raw_clinical
QUALIFY row_number() OVER (
    PARTITION BY patient_key, study_key ORDER BY known_at DESC, commit_seq DESC NULLS FIRST, acquired_at DESC NULLS LAST, raw_clinical::VARCHAR DESC
) = 1
