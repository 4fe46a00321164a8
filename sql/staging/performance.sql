-- Grain: one row per run, center (or all), window, metric and kind
SELECT *
FROM raw_performance
