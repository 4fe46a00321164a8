-- Grain: one row per staged clinical row of a center
-- Reads: staged
SELECT date_diff('second', now(), known_at) / 86400.0 AS days_ahead
FROM raw_clinical
WHERE center = $center AND commit_seq IS NULL
