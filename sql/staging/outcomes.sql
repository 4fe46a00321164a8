-- Grain: one row per patient or study with an answer of pathology, as known now
SELECT *
FROM raw_outcomes
QUALIFY row_number() OVER (
    PARTITION BY patient_key, study_key ORDER BY known_at DESC, commit_seq DESC NULLS FIRST, acquired_at DESC NULLS LAST, value DESC
) = 1
