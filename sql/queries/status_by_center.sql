-- Grain: one row per center
WITH file_counts AS (
    SELECT
        center,
        count(*) AS files,
        count(*) FILTER (WHERE status = 'ingested') AS ingested,
        count(*) FILTER (WHERE status = 'duplicate') AS duplicate,
        count(*) FILTER (WHERE status = 'ignored') AS ignored,
        count(*) FILTER (WHERE status = 'quarantined') AS quarantined,
        count(*) FILTER (WHERE status = 'pending') AS pending,
        count(*) FILTER (WHERE status = 'gone') AS gone
    FROM files
    GROUP BY center
),

case_counts AS (
    SELECT
        center,
        count(*) AS cases,
        count(*) FILTER (WHERE status = 'scored') AS scored
    FROM worklist
    GROUP BY center
),

verdicts AS (
    SELECT
        center,
        verdict
    FROM center_health
    WHERE is_latest
)

SELECT
    file_counts.*,
    coalesce(case_counts.cases, 0) AS cases,
    coalesce(case_counts.scored, 0) AS scored,
    verdicts.verdict
FROM file_counts
LEFT JOIN case_counts ON file_counts.center = case_counts.center
LEFT JOIN verdicts ON file_counts.center = verdicts.center
ORDER BY file_counts.center
