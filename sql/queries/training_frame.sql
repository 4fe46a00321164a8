-- Grain: one row per case that may be learned from
SELECT *
FROM training_frame($as_of::TIMESTAMPTZ)
ORDER BY case_key
