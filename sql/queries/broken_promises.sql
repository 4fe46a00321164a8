-- Grain: one row per promise that published rows break, with how many of them do
WITH file_keys AS (
    SELECT DISTINCT image_key
    FROM raw_files
),

image_keys AS (
    SELECT DISTINCT image_key
    FROM raw_images
),

roi_keys AS (
    SELECT DISTINCT roi_key
    FROM raw_rois
),

images AS (
    SELECT
        file_keys.image_key IS NULL AS is_orphan,
        coalesce(images.known_at > runs.finished_at, FALSE) AS is_late
    FROM raw_images AS images
    LEFT JOIN file_keys ON images.image_key = file_keys.image_key
    LEFT JOIN raw_runs AS runs ON images.run_id = runs.run_id
),

rois AS (
    SELECT
        image_keys.image_key IS NULL AS is_orphan,
        coalesce(rois.known_at > runs.finished_at, FALSE) AS is_late
    FROM raw_rois AS rois
    LEFT JOIN image_keys ON rois.image_key = image_keys.image_key
    LEFT JOIN raw_runs AS runs ON rois.run_id = runs.run_id
),

runs AS (
    SELECT
        finished_at < started_at AS is_backwards,
        finished_at < lag(finished_at) OVER (ORDER BY commit_seq) AS is_out_of_order
    FROM raw_runs
),

found AS (
    SELECT
        'images without a file that they came from' AS finding,
        count_if(is_orphan) AS n
    FROM images
    UNION ALL BY NAME
    SELECT
        'images known only after the end of the run that wrote them' AS finding,
        count_if(is_late) AS n
    FROM images
    UNION ALL BY NAME
    SELECT
        'rois without their image' AS finding,
        count_if(is_orphan) AS n
    FROM rois
    UNION ALL BY NAME
    SELECT
        'rois known only after the end of the run that wrote them' AS finding,
        count_if(is_late) AS n
    FROM rois
    UNION ALL BY NAME
    SELECT
        'radiomics without their ROI' AS finding,
        count_if(roi_keys.roi_key IS NULL) AS n
    FROM raw_radiomics AS radiomics
    LEFT JOIN roi_keys ON radiomics.roi_key = roi_keys.roi_key
    UNION ALL BY NAME
    SELECT
        'embeddings without their ROI' AS finding,
        count_if(roi_keys.roi_key IS NULL) AS n
    FROM raw_deep AS deep
    LEFT JOIN roi_keys ON deep.roi_key = roi_keys.roi_key
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
