-- Grain: one row per staged answer of some centers
-- Reads: staged
-- The commoner answer of a batch is held against the center's history (20 answers at least) only where all answers are
-- the same, or where the two have changed places: more of one kind of patient is drift, and no fault of the table.
WITH answers AS (
    SELECT
        patient_key,
        study_key,
        count(DISTINCT value) AS answers_of_patient
    FROM raw_outcomes
    GROUP BY patient_key, study_key
),

sums AS (
    SELECT
        center,
        count(*) FILTER (WHERE commit_seq IS NULL) AS answers,
        count(*) FILTER (WHERE commit_seq IS NULL AND value) AS positive,
        count(*) FILTER (WHERE commit_seq IS NOT NULL) AS answers_before,
        count(*) FILTER (WHERE commit_seq IS NOT NULL AND value) AS positive_before
    FROM raw_outcomes
    WHERE list_contains($centers::VARCHAR[], center)
    GROUP BY center
),

commoner AS (
    SELECT
        center,
        answers,
        answers_before,
        if(2 * positive >= answers, positive, answers - positive) AS same,
        if(2 * positive >= answers, positive_before, answers_before - positive_before) AS same_before
    FROM sums
),

suspect AS (
    SELECT
        *,
        answers_before >= 20
        AND (same = answers OR same / answers >= greatest(0.5, 1 - same_before / answers_before)) AS is_suspect
    FROM commoner
)

SELECT
    outcomes.center,
    date_diff('second', now(), outcomes.known_at) / 86400.0 AS days_ahead,
    answers.answers_of_patient,
    if(suspect.is_suspect, suspect.same, NULL) AS same_answer_count,
    suspect.answers AS same_answer_of,
    suspect.same_before AS same_answer_count_before,
    suspect.answers_before AS same_answer_of_before
FROM raw_outcomes AS outcomes
INNER JOIN answers
    ON
        outcomes.patient_key = answers.patient_key
        AND outcomes.study_key IS NOT DISTINCT FROM answers.study_key
INNER JOIN suspect ON outcomes.center = suspect.center
WHERE outcomes.commit_seq IS NULL
