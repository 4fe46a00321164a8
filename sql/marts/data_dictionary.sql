-- Grain: one row per relation and column
-- Column: relation: The relation.
-- Column: column_name: The column.
-- Column: data_type: DuckDB's type.
-- Column: comment: What it means.
SELECT
    columns.table_name AS relation,
    columns.column_name,
    columns.data_type,
    columns.comment
FROM duckdb_columns() AS columns
WHERE NOT columns.internal AND NOT starts_with(columns.table_name, 'raw_')
ORDER BY columns.table_name, columns.column_index
