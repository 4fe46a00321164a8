-- Grain: one row per center: its files, and the nights of the last year that brought images
WITH file_counts AS (
    SELECT
        center,
        count(*) AS files,
        count(*) FILTER (WHERE status = 'quarantined') AS quarantined
    FROM files
    GROUP BY center
),

nights AS (
    SELECT DISTINCT
        center,
        known_at
    FROM raw_images
    WHERE known_at BETWEEN $as_of::TIMESTAMPTZ - INTERVAL 365 DAY AND $as_of
),

pauses AS (
    SELECT
        *,
        date_diff('second', lag(known_at) OVER (PARTITION BY center ORDER BY known_at), known_at) / 86400.0 AS days
    FROM nights
),

rhythms AS (
    SELECT
        center,
        count(days) AS pauses,
        max(days) AS longest_days,
        date_diff('second', max(known_at), $as_of) / 86400.0 AS days_since
    FROM pauses
    GROUP BY center
)

SELECT
    file_counts.*,
    coalesce(rhythms.pauses, 0) AS pauses,
    rhythms.longest_days,
    rhythms.days_since
FROM file_counts
LEFT JOIN rhythms ON file_counts.center = rhythms.center
ORDER BY file_counts.center
