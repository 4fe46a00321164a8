-- Grain: one row per promise that published rows break, with how many of them do
-- An answer may bear a day's date and come at its end: one day of slack for what comes out of tables.
WITH file_keys AS (
    SELECT DISTINCT image_key
    FROM raw_files
    WHERE image_key IS NOT NULL
),

image_keys AS (
    SELECT DISTINCT image_key
    FROM raw_images
),

roi_keys AS (
    SELECT DISTINCT roi_key
    FROM raw_rois
),

facts AS (
    SELECT
        'images' AS relation,
        acquired_at,
        known_at,
        NULL::TIMESTAMPTZ AS computed_at,
        run_id,
        image_key NOT IN (SELECT file_keys.image_key FROM file_keys) AS is_orphan
    FROM raw_images
    UNION ALL BY NAME
    SELECT
        'rois' AS relation,
        acquired_at,
        known_at,
        run_id,
        image_key NOT IN (SELECT image_keys.image_key FROM image_keys) AS is_orphan
    FROM raw_rois
    UNION ALL BY NAME
    SELECT
        'radiomics' AS relation,
        acquired_at,
        known_at,
        computed_at,
        run_id,
        roi_key NOT IN (SELECT roi_keys.roi_key FROM roi_keys) AS is_orphan
    FROM raw_radiomics_clocks
    UNION ALL BY NAME
    SELECT
        'deep' AS relation,
        acquired_at,
        known_at,
        computed_at,
        run_id,
        roi_key NOT IN (SELECT roi_keys.roi_key FROM roi_keys) AS is_orphan
    FROM raw_deep_clocks
    UNION ALL BY NAME
    SELECT
        'clinical' AS relation,
        acquired_at,
        known_at,
        run_id
    FROM raw_clinical
    UNION ALL BY NAME
    SELECT
        'outcomes' AS relation,
        acquired_at,
        known_at,
        run_id
    FROM raw_outcomes
),

judged AS (
    SELECT
        facts.relation,
        count_if(facts.is_orphan) AS orphans,
        count_if(
            facts.known_at > raw_runs.finished_at + to_days((facts.relation IN ('clinical', 'outcomes'))::INTEGER)
        ) AS late,
        count_if(facts.acquired_at > facts.known_at + to_days(1)) AS ahead,
        count_if(facts.computed_at < facts.known_at) AS early
    FROM facts
    LEFT JOIN raw_runs ON facts.run_id = raw_runs.run_id
    GROUP BY facts.relation
),

runs AS (
    SELECT
        finished_at < started_at AS is_backwards,
        finished_at < lag(finished_at) OVER (ORDER BY commit_seq) AS is_out_of_order
    FROM raw_runs
),

found AS (
    SELECT
        concat(
            relation, ' without ',
            CASE relation WHEN 'images' THEN 'a file that they came from' WHEN 'rois' THEN 'their image' ELSE 'their ROI' END
        ) AS finding,
        orphans AS n
    FROM judged
    UNION ALL BY NAME
    SELECT
        concat(relation, ' known only after the end of the run that wrote them') AS finding,
        late AS n
    FROM judged
    UNION ALL BY NAME
    SELECT
        concat(relation, ' acquired more than a day after they were known') AS finding,
        ahead AS n
    FROM judged
    UNION ALL BY NAME
    SELECT
        concat(relation, ' computed before their ROI was known') AS finding,
        early AS n
    FROM judged
    UNION ALL BY NAME
    SELECT
        'runs that ended before they began' AS finding,
        count_if(is_backwards) AS n
    FROM runs
    UNION ALL BY NAME
    SELECT
        'runs that ended before one committed earlier: a clock was set back' AS finding,
        count_if(is_out_of_order) AS n
    FROM runs
)

SELECT
    finding,
    n
FROM found
WHERE n > 0
ORDER BY finding
