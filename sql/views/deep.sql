-- Grain: one row per ROI, current encoder
SELECT * REPLACE (try_cast(embedding AS FLOAT[{{ embedding_size }}]) AS embedding)
FROM embeddings_as_of(TIMESTAMPTZ 'infinity')
