-- Grain: one row per model version whose training frame held the patient
-- A correction that came later does not unteach what was learned from the answer before it, nor does another role that the
-- center was given since: every row counts, and the role of the day of the training.
SELECT model_versions.model_version
FROM model_versions
WHERE
    EXISTS (
        SELECT 1
        FROM raw_rois
        INNER JOIN raw_outcomes ON raw_rois.patient_key = raw_outcomes.patient_key
        INNER JOIN raw_centers ON raw_rois.center = raw_centers.center
        WHERE
            raw_rois.patient_key = $patient_key
            AND raw_rois.known_at <= model_versions.training_as_of
            AND raw_outcomes.known_at <= model_versions.training_as_of
            AND raw_centers.known_at <= model_versions.trained_at
        HAVING arg_max(raw_centers.role, (raw_centers.known_at, raw_centers.commit_seq)) = 'train'
    )
ORDER BY model_versions.model_version
