-- Grain: one row per run, table, center and expectation
SELECT *
FROM raw_check_results
