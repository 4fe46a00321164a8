"""`catalog.duckdb`: the relations with their comments over the published files, for any DuckDB client.

It holds views and macros only. It is never edited: a copy is, or a new one is built, and renamed over it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from clnm.entities import CODE_VERSION
from clnm.errors import StoreError
from clnm.store.manifest import Manifest, sync_file, sync_folder
from clnm.store.tables import LINEAGE, TABLES
from clnm.store.warehouse import (
    LAYERS,
    Installation,
    build_views,
    layer_names,
    quoted,
    raw_names,
    read_sql,
    relation_names,
    rows_of,
    union_of,
)

CATALOG = "catalog.duckdb"
_STORAGE_VERSION = "v1.2.0"
"""So that DuckDB clients from 1.5 on open the catalogue."""
_BUILT_FROM = "raw_built_from"
_SHAPE, _COMMENTED = "*", "commented"


def write_catalog(
    installation: Installation, manifest: Manifest, *, with_comments: bool = True, anew: bool = False
) -> int:
    """Build the catalogue beside the old one and rename it over; returns how many relations it holds.

    Where the columns are those of the old one, that is copied and only the file lists that changed are replaced.
    """
    path = installation.root / CATALOG
    scratch = path.with_name(f"{CATALOG}.{os.getpid()}.scratch")
    built_from = _built_from(installation, manifest)
    try:
        count = None if anew else _follow_catalog(path, scratch, built_from, with_comments=with_comments)
        if count is None:
            count = _build_catalog(installation, manifest, scratch, built_from, with_comments=with_comments)
        sync_file(scratch)
        scratch.rename(path)
        sync_folder(path.parent)
    except (OSError, duckdb.Error) as error:
        for left in scratch.parent.glob(f"{scratch.name}*"):
            left.unlink(missing_ok=True)
        raise StoreError(
            "catalog.duckdb cannot be written; the tables are intact, run `clnm store catalog` when mended"
        ) from error
    return count


@dataclass(frozen=True, slots=True)
class _BuiltFrom:
    """What a catalogue depends on: `shape` decides on columns and comments, `unions` are the rows' whereabouts."""

    shape: str
    unions: Mapping[str, str]


def _built_from(installation: Installation, manifest: Manifest) -> _BuiltFrom:
    unions = {name: union_of(installation, manifest, name) for name in raw_names()}
    columns = {name: sorted(entry.files) for name, entry in manifest.tables.items()}
    texts = [
        read_sql(layer, name, outcome=installation.outcome).body for layer in LAYERS for name in layer_names(layer)
    ]
    described = repr((CODE_VERSION, installation, sorted(columns.items()), texts))
    return _BuiltFrom(hashlib.sha256(described.encode()).hexdigest(), unions)


def _follow_catalog(path: Path, scratch: Path, built_from: _BuiltFrom, *, with_comments: bool) -> int | None:
    """The catalogue at `path` brought to another state of the same shape; None where it is of another."""
    scratch.unlink(missing_ok=True)
    if not path.exists():
        return None
    shutil.copyfile(path, scratch)
    wanted = {f"{built_from.shape} {_COMMENTED}"} | (set() if with_comments else {built_from.shape})
    with duckdb.connect() as connection:
        try:
            connection.execute(f"ATTACH '{quoted(scratch)}' AS catalog")
            connection.execute("USE catalog")
            known = {row["relation"]: row["digest"] for row in rows_of(connection, f"FROM {_BUILT_FROM}")}
        except duckdb.Error:
            return None
        if known[_SHAPE] not in wanted:
            return None
        connection.execute("SET TimeZone = 'UTC'")
        for name, union in built_from.unions.items():
            if known[name] != _digest(union):
                connection.execute(f"CREATE OR REPLACE VIEW raw_{name} AS FROM ({union})")
                if known[_SHAPE].endswith(_COMMENTED):
                    _add_raw_comment(connection, name)
        _note(connection, built_from, known[_SHAPE])
        return _detached(connection)


def _note(connection: duckdb.DuckDBPyConnection, built_from: _BuiltFrom, shape: str) -> None:
    """A view that says what the catalogue was built from."""
    pairs = {_SHAPE: shape} | {name: _digest(union) for name, union in built_from.unions.items()}
    values = ", ".join(f"('{name}', '{digest}')" for name, digest in pairs.items())
    connection.execute(f"CREATE OR REPLACE VIEW {_BUILT_FROM} AS FROM (VALUES {values}) AS built (relation, digest)")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _build_catalog(
    installation: Installation, manifest: Manifest, scratch: Path, built_from: _BuiltFrom, *, with_comments: bool
) -> int:
    scratch.unlink(missing_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{quoted(scratch)}' AS catalog (STORAGE_VERSION '{_STORAGE_VERSION}')")
        connection.execute("USE catalog")
        build_views(connection, installation, manifest)
        if with_comments:
            add_comments(connection, installation)
        _note(connection, built_from, f"{built_from.shape} {_COMMENTED}" if with_comments else built_from.shape)
        return _detached(connection)


def _detached(connection: duckdb.DuckDBPyConnection) -> int:
    """Write the attached catalogue out; how many relations it holds."""
    count = len(relation_names(connection))
    connection.execute("USE memory")
    connection.execute("DETACH catalog")
    return count


def add_comments(connection: duckdb.DuckDBPyConnection, installation: Installation) -> None:
    """`COMMENT ON` every relation and column: its own file's words first, then its table's, then any table's."""
    known = _known_comments(installation)
    own: dict[str, dict[str, str]] = {name: {c.name: c.comment for c in t.columns} for name, t in TABLES.items()}
    for layer in LAYERS:
        for name in layer_names(layer):
            relation = read_sql(layer, name, outcome=installation.outcome)
            kind = "VIEW" if relation.parameters is None else "MACRO TABLE"
            connection.execute(f"COMMENT ON {kind} {name} IS '{quoted(relation.grain)}'")
            own[name] = {**own.get(name, {}), **relation.comments}
    for name in raw_names():
        _add_raw_comment(connection, name)
    for column in rows_of(connection, "FROM duckdb_columns() WHERE NOT internal"):
        relation_name, name = column["table_name"], column["column_name"]
        if not relation_name.startswith("raw_"):
            text = own[relation_name].get(name) or known.get(name) or _feature_comment(name)
            connection.execute(f'COMMENT ON COLUMN "{relation_name}"."{name}" IS \'{quoted(text)}\'')


def _add_raw_comment(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    text = f"Every row of {name} that counts or counted, as it was written."
    connection.execute(f"COMMENT ON VIEW raw_{name} IS '{quoted(text)}'")


def _known_comments(installation: Installation) -> dict[str, str]:
    known = {column.name: column.comment for table in TABLES.values() for column in (*table.columns, *LINEAGE)}
    for variable in installation.variables:
        unit = f", in {variable.unit}" if variable.unit else ""
        levels = f": {', '.join(variable.levels)}" if variable.levels else ""
        known[variable.name] = f"Clinical {variable.kind.value}{levels}{unit}."
    known[installation.outcome] = "The outcome; null while pathology's answer is not known."
    return known


def _feature_comment(name: str) -> str:
    """Radiomics columns keep pyradiomics' own names: image type, class, feature."""
    parts = name.rsplit("_", 2)
    return f"pyradiomics {parts[1]} {parts[2]} of the {parts[0]} image." if len(parts) == 3 else ""
