-- Grain: one row per staged image of some centers
-- Reads: staged
-- What is not a number counts as infinite: an expectation passes over it in silence. What is compared with the center's
-- own history is null, and held against nobody, while that is short: 20 images of a machine, 7 nights after the first.
WITH pictures AS (
    SELECT
        sha256,
        count(DISTINCT patient_key) AS patients
    FROM raw_images
    GROUP BY sha256
),

own AS (
    SELECT
        *,
        commit_seq IS NULL AS is_staged,
        median(spacing_x_mm) FILTER (WHERE commit_seq IS NULL) OVER machine AS spacing_now_mm,
        median(spacing_x_mm) FILTER (WHERE commit_seq IS NOT NULL) OVER machine AS spacing_before_mm,
        count(spacing_x_mm) FILTER (WHERE commit_seq IS NOT NULL) OVER machine AS spacings_before
    FROM raw_images
    WHERE list_contains($centers::VARCHAR[], center)
    WINDOW machine AS (PARTITION BY center, manufacturer, model)
),

nights AS (
    SELECT
        center,
        commit_seq,
        count(*) AS images,
        max(known_at) AS known_at
    FROM own
    WHERE NOT is_staged
    GROUP BY center, commit_seq
    QUALIFY row_number() OVER (PARTITION BY center ORDER BY commit_seq) > 1 -- the first brings all that was there
),

usual AS (
    SELECT
        center,
        max(images) AS images,
        max(known_at) AS last_at,
        greatest(date_diff('hour', min(known_at), max(known_at)) / 24.0 / (count(*) - 1), 1) AS days_between
    FROM nights
    GROUP BY center
    HAVING count(*) >= 7
)

SELECT
    own.center,
    own.rows_px,
    own.columns_px,
    if(isnan(own.spacing_x_mm), 'infinity'::DOUBLE, own.spacing_x_mm) AS spacing_x_mm,
    if(isnan(own.spacing_y_mm), 'infinity'::DOUBLE, own.spacing_y_mm) AS spacing_y_mm,
    own.rows_px * own.spacing_y_mm AS depth_mm,
    own.spacing_x_mm / own.spacing_y_mm AS spacing_ratio,
    if(own.spacings_before >= 20, own.spacing_now_mm / own.spacing_before_mm, NULL) AS spacing_step,
    date_diff('second', own.known_at, own.acquired_at) / 86400.0 AS days_ahead,
    pictures.patients - 1 AS other_patients,
    count(*) OVER (PARTITION BY own.center) AS night_count,
    -- nights come in bursts: three times the largest so far, for each night that brought nothing
    3 * usual.images * greatest(date_diff('hour', usual.last_at, own.known_at) / 24.0 / usual.days_between, 1)
        AS night_expected
FROM own
INNER JOIN pictures ON own.sha256 = pictures.sha256
LEFT JOIN usual ON own.center = usual.center
WHERE own.is_staged
