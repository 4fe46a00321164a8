-- Grain: one row per center, as configured now
SELECT *
FROM raw_centers
QUALIFY row_number() OVER (PARTITION BY center ORDER BY known_at DESC, commit_seq DESC NULLS FIRST) = 1
