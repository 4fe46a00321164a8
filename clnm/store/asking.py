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
from clnm.store.manifest import Manifest
from clnm.store.warehouse import Installation, build_views, data_files

_READS = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
"""The parts of a parsed statement that only read. `WITH t AS (COPY ...)` is a SELECT to the parser, and writes."""
_EXPLAIN = re.compile(r"\s*EXPLAIN(\s+ANALYZE)?(\s*\([^)]*\))?", re.IGNORECASE)


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
        build_views(connection, installation, manifest, as_of=as_of)
        _lock_down(connection, data_files(installation, manifest))
        try:
            return connection.sql(question).to_arrow_table()
        except duckdb.IOException as error:
            raise StoreError(
                "a data file of the store is missing; if the store was moved run `clnm store catalog`, "
                "else `clnm store verify` names it"
            ) from error
        except duckdb.Error as error:
            raise UserError(_first_sentences(str(error))) from None


def _demand_one_question(connection: duckdb.DuckDBPyConnection, question: str) -> None:
    try:
        kinds = [statement.type.name for statement in connection.extract_statements(question)]
    except duckdb.Error as error:
        raise UserError(_first_sentences(str(error))) from None
    explained = _EXPLAIN.sub("", question, count=1) if kinds == ["EXPLAIN"] else question
    if len(kinds) != 1 or not _only_reads(connection, explained):
        raise UserError(
            f"one SELECT, DESCRIBE or EXPLAIN that only reads, please; this is {', '.join(kinds) or 'nothing'}"
        )


def _only_reads(connection: duckdb.DuckDBPyConnection, question: str) -> bool:
    """Whether every part of the parsed statement is one that reads: what is not known to read is refused."""
    row = connection.execute("SELECT json_serialize_sql(?)", [question]).fetchone()
    parsed = json.loads(row[0]) if row else {"error": True}
    nodes = {kind for kind in _types(parsed) if kind.endswith("_NODE")}
    return not parsed["error"] and bool(nodes) and nodes <= _READS


def _types(parsed: Any) -> Iterator[str]:
    if isinstance(parsed, dict):
        if isinstance(parsed.get("type"), str):
            yield parsed["type"]
        for part in parsed.values():
            yield from _types(part)
    elif isinstance(parsed, list):
        for part in parsed:
            yield from _types(part)


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
