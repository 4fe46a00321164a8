-- Grain: one row per staged image of a center
-- Reads: staged
-- What is not a number counts as infinite: an expectation passes over it in silence.
WITH pictures AS (
    SELECT
        sha256,
        count(DISTINCT patient_key) AS patients
    FROM raw_images
    GROUP BY sha256
)

SELECT
    images.rows_px,
    images.columns_px,
    if(isnan(images.spacing_x_mm), 'infinity'::DOUBLE, images.spacing_x_mm) AS spacing_x_mm,
    if(isnan(images.spacing_y_mm), 'infinity'::DOUBLE, images.spacing_y_mm) AS spacing_y_mm,
    images.spacing_x_mm / images.spacing_y_mm AS spacing_ratio,
    date_diff('second', images.known_at, images.acquired_at) / 86400.0 AS days_ahead,
    pictures.patients - 1 AS other_patients
FROM raw_images AS images
INNER JOIN pictures ON images.sha256 = pictures.sha256
WHERE images.center = $center AND images.commit_seq IS NULL
