"""`clnm sql`: one question, read-only by construction."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa

from clnm.errors import StoreError, UserError
from clnm.store.catalog import add_comments
from clnm.store.damage import DAMAGED, is_damage
from clnm.store.manifest import Manifest
from clnm.store.warehouse import Installation, Past, Views, data_files, macro_names

_READS = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
"""The parts of a parsed statement that only read. `WITH t AS (COPY ...)` is a SELECT to the parser, and writes."""
_OPTION = r"(?:ANALYZE|FORMAT\s+\w+)"
_EXPLAIN = re.compile(rf"\s*EXPLAIN\b(\s+ANALYZE\b)?(\s*\(\s*{_OPTION}(\s*,\s*{_OPTION})*\s*\))?", re.IGNORECASE)
"""Options by name: a wider pattern could swallow half of a statement and leave a harmless rest to be judged."""
_ON_COMMENTS = re.compile("data_dictionary|comment", re.IGNORECASE)
"""Comments on 1,500 columns take a second or two: only a question about them pays for them."""
_ON_THE_CATALOGUE = re.compile(
    r"\b(show|describe|summarize|data_dictionary|information_schema|(duckdb|pg|sqlite|pragma)_\w+|pg_catalog)\b",
    re.IGNORECASE,
)
"""Questions about the relations themselves see all of them; for others those that they name are made."""
_TABLE_FUNCTIONS = {
    *("duckdb_columns", "duckdb_functions", "duckdb_keywords", "duckdb_schemas", "duckdb_settings", "duckdb_tables"),
    *("duckdb_types", "duckdb_views", "generate_series", "histogram", "histogram_values", "json_each", "json_tree"),
    *("pragma_table_info", "pragma_version", "range", "repeat", "repeat_row", "summary", "unnest"),
}
"""Those that neither read files nor run a text as SQL; `query('WITH t AS (COPY ...)')` would write."""


def answer(installation: Installation, manifest: Manifest, question: str, as_of: datetime | None) -> pa.Table:
    """The answer to exactly one SELECT, DESCRIBE or EXPLAIN over the published relations.

    The statement is parsed before it runs; the session may open the store's data files and nothing else, and its
    configuration is locked.

    Raises:
        UserError: another statement, several, or a mistake in it (DuckDB's own sentence, with the nearest name).
        StoreError: a data file of the store is not there.
    """
    with duckdb.connect() as connection:
        _demand_one_question(connection, question)
        connection.execute("SET python_enable_replacements = false")
        views = Views(connection, installation, manifest, past=Past(as_of) if as_of else None)
        if _ON_THE_CATALOGUE.search(question):
            views.make_all()
        else:
            views.make_for(question)
        if _ON_COMMENTS.search(question):
            add_comments(connection, installation)
        _lock_down(connection, data_files(installation, manifest))
        try:
            return _asked(connection, question, views)
        except duckdb.Error as error:
            if is_damage(error) or str(installation.root) in str(error):
                raise StoreError(DAMAGED) from error
            raise UserError(_first_sentences(str(error))) from None


def _asked(connection: duckdb.DuckDBPyConnection, question: str, views: Views) -> pa.Table:
    """A name that is not there is asked once more among all relations: it may be one, or near to one."""
    try:
        return connection.sql(question).to_arrow_table()
    except duckdb.CatalogException:
        views.make_all()
        return connection.sql(question).to_arrow_table()


def _demand_one_question(connection: duckdb.DuckDBPyConnection, question: str) -> None:
    try:
        kinds = [statement.type.name for statement in connection.extract_statements(question)]
    except duckdb.Error as error:
        raise UserError(_first_sentences(str(error))) from None
    explained = _EXPLAIN.sub("", question, count=1) if kinds == ["EXPLAIN"] else question
    parsed = _parsed(connection, explained)
    nodes = {str(part["type"]) for part in _parts(parsed) if str(part.get("type")).endswith("_NODE")}
    if len(kinds) != 1 or not nodes or not nodes <= _READS:
        raise UserError(
            f"one SELECT, DESCRIBE or EXPLAIN that only reads, please; this is {', '.join(kinds) or 'nothing'}"
        )
    if strange := sorted(_table_functions(parsed) - _TABLE_FUNCTIONS - set(macro_names())):
        raise UserError(f'{strange[0]}() is no relation of the store; `clnm sql "SHOW TABLES"` lists them')


def _parsed(connection: duckdb.DuckDBPyConnection, question: str) -> Any:
    """The statement's tree; an empty one where it is no SELECT."""
    row = connection.execute("SELECT json_serialize_sql(?)", [question]).fetchone()
    tree = json.loads(row[0]) if row else {"error": True}
    return {} if tree["error"] else tree


def _table_functions(parsed: Any) -> set[str]:
    calls = [part["function"] for part in _parts(parsed) if part.get("type") == "TABLE_FUNCTION"]
    return {str(call["function_name"]).lower() for call in calls}


def _parts(parsed: Any) -> Iterator[dict[str, Any]]:
    """Every object of the tree."""
    if isinstance(parsed, dict):
        yield parsed
    for part in parsed.values() if isinstance(parsed, dict) else parsed if isinstance(parsed, list) else ():
        yield from _parts(part)


def _lock_down(connection: duckdb.DuckDBPyConnection, files: list[str]) -> None:
    listed = ", ".join("'" + path.replace("'", "''") + "'" for path in files)
    connection.execute(f"SET allowed_paths = [{listed}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _first_sentences(message: str) -> str:
    lines = [
        line.strip()
        for line in message.splitlines()
        if line.strip() and not line.startswith("LINE") and "^" not in line
    ]
    return " ".join(lines[:3])
