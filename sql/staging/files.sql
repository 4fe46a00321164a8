-- Grain: one row per file or archive member ever seen, as it stands now
SELECT *
FROM raw_files
QUALIFY row_number() OVER (PARTITION BY file_key ORDER BY commit_seq DESC NULLS FIRST) = 1
