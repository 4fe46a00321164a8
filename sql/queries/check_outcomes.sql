-- Grain: one row per staged answer of a center
-- Reads: staged
WITH answers AS (
    SELECT
        patient_key,
        study_key,
        count(DISTINCT value) AS answers_of_patient
    FROM raw_outcomes
    GROUP BY patient_key, study_key
)

SELECT
    date_diff('second', now(), outcomes.known_at) / 86400.0 AS days_ahead,
    answers.answers_of_patient
FROM raw_outcomes AS outcomes
INNER JOIN answers
    ON
        outcomes.patient_key = answers.patient_key
        AND outcomes.study_key IS NOT DISTINCT FROM answers.study_key
WHERE outcomes.center = $center AND outcomes.commit_seq IS NULL
