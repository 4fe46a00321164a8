-- Grain: one row, the champion, if there is one
SELECT *
FROM model_versions
WHERE status = 'champion'
ORDER BY commit_seq DESC
LIMIT 1
