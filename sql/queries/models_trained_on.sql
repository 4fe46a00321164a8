-- Grain: one row per model version whose training frame held the patient
SELECT model_versions.model_version
FROM model_versions
WHERE
    EXISTS (
        SELECT 1
        FROM cases
        INNER JOIN outcomes ON cases.patient_key = outcomes.patient_key
        WHERE
            cases.patient_key = $patient_key
            AND cases.role = 'train'
            AND outcomes.known_at <= model_versions.training_as_of
            AND cases.acquired_at <= model_versions.training_as_of
    )
ORDER BY model_versions.model_version
