-- Grain: one row per case of a train or external center whose outcome was known at t
-- Macro: training_frame(t)
SELECT *
FROM case_frame_as_of(t)
WHERE role IN ('train', 'external') AND {{ outcome }} IS NOT NULL
