-- Grain: one row per center and clinical variable of its staged rows, and one for the rows themselves
-- Reads: staged
-- A column of one value (or of none), and numbers far beyond, are held against the center's 20 published rows at least,
-- counted from the commit with which the variable first had a value: before it nobody asked for it.
WITH own AS (
    SELECT
        *,
        NULL::VARCHAR AS all_rows,
        commit_seq IS NULL AS is_staged,
        max(date_diff('second', now(), known_at) / 86400.0) FILTER (WHERE commit_seq IS NULL)
            OVER (PARTITION BY center) AS days_ahead
    FROM raw_clinical
    WHERE list_contains($centers::VARCHAR[], center)
),

words AS (
    SELECT
        center,
        is_staged,
        days_ahead,
        commit_seq,
        COLUMNS(
            * EXCLUDE (
                patient_key, study_key, center, acquired_at, known_at, run_id, code_version, config_hash, commit_seq,
                is_staged, days_ahead
            )
        )::VARCHAR
    FROM own
),

every_cell AS (
    SELECT
        center,
        variable,
        is_staged,
        days_ahead,
        commit_seq,
        value,
        try_cast(value AS DOUBLE) AS number
    FROM words UNPIVOT INCLUDE NULLS (value FOR variable IN (COLUMNS(* EXCLUDE (center, is_staged, days_ahead, commit_seq))))
),

cells AS (
    SELECT *
    FROM every_cell
    QUALIFY is_staged OR commit_seq >= min(commit_seq) FILTER (WHERE value IS NOT NULL) OVER (PARTITION BY center, variable)
),

usual AS (
    SELECT
        center,
        variable,
        quantile_cont(number, 0.01) AS low,
        quantile_cont(number, 0.99) AS high
    FROM cells
    WHERE NOT is_staged
    GROUP BY center, variable
    HAVING count(number) >= 20
),

batch AS (
    SELECT
        center,
        variable,
        any_value(value) AS value,
        count(DISTINCT value) + (count(*) > count(value))::INTEGER AS values_seen
    FROM cells
    WHERE is_staged
    GROUP BY center, variable
),

counts AS (
    SELECT
        cells.center,
        cells.variable,
        max(cells.days_ahead) AS days_ahead,
        count(*) FILTER (WHERE cells.is_staged) AS now_rows,
        count(*) FILTER (WHERE NOT cells.is_staged) AS rows_before,
        count(*) FILTER (WHERE NOT cells.is_staged AND cells.value IS NOT DISTINCT FROM batch.value) AS same_before,
        count(cells.number) FILTER (WHERE cells.is_staged) AS numbers,
        count(cells.number) FILTER (WHERE NOT cells.is_staged) AS numbers_before,
        -- beyond half of the lowest, or twice the highest, of 98 % of what the center sent so far
        count(*) FILTER (
            WHERE cells.is_staged
            AND (cells.number < usual.low - abs(usual.low) / 2 OR cells.number > usual.high + abs(usual.high))
        ) AS beyond,
        count(*) FILTER (
            WHERE NOT cells.is_staged
            AND (cells.number < usual.low - abs(usual.low) / 2 OR cells.number > usual.high + abs(usual.high))
        ) AS beyond_before,
        any_value(batch.values_seen) AS values_seen,
        any_value(usual.low) IS NOT NULL AS has_numbers
    FROM cells
    INNER JOIN batch ON cells.center = batch.center AND cells.variable = batch.variable
    LEFT JOIN usual ON cells.center = usual.center AND cells.variable = usual.variable
    GROUP BY cells.center, cells.variable
)

SELECT
    center,
    variable,
    days_ahead,
    if(values_seen = 1 AND rows_before >= 20, now_rows, NULL) AS one_value_count,
    now_rows AS one_value_of,
    same_before AS one_value_count_before,
    rows_before AS one_value_of_before,
    if(has_numbers, beyond, NULL) AS beyond_count,
    numbers AS beyond_of,
    beyond_before AS beyond_count_before,
    numbers_before AS beyond_of_before
FROM counts
ORDER BY center, variable
