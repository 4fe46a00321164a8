-- Grain: one row per model version
SELECT
    model_version,
    algorithm,
    status,
    trained_at,
    training_as_of,
    n_train,
    n_events,
    auc_cv,
    auc_external,
    threshold,
    sha256,
    feature_set_version
FROM model_versions
ORDER BY trained_at DESC, auc_cv DESC
