-- Grain: one row per case with what was known of it at t: clinical values, outcome, features, embedding
-- Macro: case_frame_as_of(t)
-- Features are joined last: they stream past what is small enough for memory.
SELECT
    cases.*,
    features.* EXCLUDE (
        roi_key, case_key, center, acquired_at, known_at, computed_at, feature_set_version, engine,
        run_id, code_version, config_hash, commit_seq
    ),
    embeddings.embedding
FROM cases_as_of(t) AS cases
LEFT JOIN embeddings_as_of(t) AS embeddings ON cases.roi_key = embeddings.roi_key
LEFT JOIN features_as_of(t) AS features ON cases.roi_key = features.roi_key
