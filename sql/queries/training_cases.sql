-- Grain: one row per case the champion was trained on
SELECT frame.case_key
FROM training_frame($training_as_of::TIMESTAMPTZ) AS frame
WHERE frame.role = 'train'
ORDER BY frame.case_key
