-- Grain: one row, the last champion that had learned from nothing later than a moment, if there is one
SELECT *
FROM raw_model_versions
WHERE status = 'champion' AND training_as_of <= $as_of::TIMESTAMPTZ
ORDER BY commit_seq DESC
LIMIT 1
