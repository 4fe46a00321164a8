-- Grain: one row per ROI, current feature set
SELECT *
FROM features_as_of(TIMESTAMPTZ 'infinity')
