-- Grain: one row per relation and column, and one per macro
-- Column: relation: The relation, or the macro with its parameters.
-- Column: column_name: The column; of a macro, `*`.
-- Column: data_type: DuckDB's type.
-- Column: comment: What it means.
WITH described AS (
    SELECT
        columns.table_name AS relation,
        columns.column_name,
        columns.data_type,
        columns.comment,
        columns.column_index
    FROM duckdb_columns() AS columns
    WHERE NOT columns.internal AND NOT starts_with(columns.table_name, 'raw_')
    UNION ALL
    SELECT
        concat(macros.function_name, '(', array_to_string(macros.parameters, ', '), ')') AS relation,
        '*' AS column_name,
        'TABLE' AS data_type,
        macros.comment,
        0 AS column_index
    FROM duckdb_functions() AS macros
    WHERE macros.function_type = 'table_macro' AND NOT macros.internal
)

SELECT
    described.relation,
    described.column_name,
    described.data_type,
    described.comment
FROM described
ORDER BY described.relation, described.column_index
