-- Grain: one row per ROI, current encoder
SELECT *
FROM embeddings_as_of(TIMESTAMPTZ 'infinity')
