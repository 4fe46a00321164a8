"""DuckDB over the store's files: the views of `sql/`, in memory for the pipeline, as `catalog.duckdb` for everyone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from clnm.entities import ClinicalVariable, VariableKind
from clnm.store.damage import reading
from clnm.store.manifest import Manifest, replace_file
from clnm.store.tables import LINEAGE, TABLES, Table

_CLOCKS = ("known_at", "scored_at", "started_at", "last_seen_at", "last_raised_at", "first_seen_at")
"""When a row came to be known: the first of these that it has; a row without any counts from the start of its run."""
_CLOCKS_ALONE = "_clocks"
_CONFIGURATION = ("centers",)
"""What `clnm.toml` says holds for the past, too: a center that may not be trained on now is not trained on then."""
_RUN_BEGAN = "try_strptime(run_id[:15], '%Y%m%dT%H%M%S')::TIMESTAMPTZ"
"""A run that goes on, or was killed, has no row in `runs`; its name begins with its start, to the second."""
LAYERS = ("staging", "views", "marts")
"""The folders of `sql/` that hold relations; each reads those before it."""
_IF_MOVED = "if-moved-run-clnm-store-catalog"
_TYPES = {VariableKind.NUMBER: pa.float64(), VariableKind.CATEGORY: pa.string(), VariableKind.FLAG: pa.bool_()}
_MACRO = re.compile(r"^-- Macro: (\w+)\((.*)\)$", re.MULTILINE)
_COLUMN = re.compile(r"^-- Column: (\w+): (.+)$", re.MULTILINE)
_WORD = re.compile(r"\w+")
_NO_NAMES = re.compile(r"--[^\n]*|'[^']*'")
"""Comments and texts, in which a word names no relation."""
_GRAIN = re.compile(r"^-- Grain: (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Installation:
    """What the views need to know of the installation."""

    root: Path
    variables: tuple[ClinicalVariable, ...]
    outcome: str
    embedding_size: int | None = None
    """The length of the current backbone's embeddings; None where that is not known."""

    def clinical_types(self) -> dict[str, pa.DataType]:
        """The columns of the clinical variables."""
        return {variable.name: _TYPES[variable.kind] for variable in self.variables}


@dataclass(frozen=True, slots=True)
class Relation:
    """One file of `sql/`: a view, or a table macro where it has parameters."""

    name: str
    body: str
    grain: str
    parameters: str | None
    comments: Mapping[str, str]
    """What the columns mean that the file itself makes."""


def read_sql(layer: str, name: str, *, outcome: str, embedding_size: int | None = None) -> Relation:
    """One file of `sql/<layer>/`, its outcome column named, and the length of an embedding where it is known."""
    text = resources.files(f"sql.{layer}").joinpath(f"{name}.sql").read_text(encoding="utf-8")
    macro, grain = _MACRO.search(text), _GRAIN.search(text)
    return Relation(
        name=name,
        body=text.replace("{{ outcome }}", outcome).replace("{{ embedding_size }}", str(embedding_size or "")),
        grain=grain.group(1) if grain else "",
        parameters=macro.group(2) if macro else None,
        comments=dict(_COLUMN.findall(text)),
    )


def macro_names() -> list[str]:
    """The relations that take a parameter."""
    layers = {layer: layer_names(layer) for layer in LAYERS}
    found = [read_sql(layer, name, outcome="") for layer, names in layers.items() for name in names]
    return [relation.name for relation in found if relation.parameters is not None]


def layer_names(layer: str) -> list[str]:
    """The relations of a layer, in the order of their names."""
    return sorted(path.name[:-4] for path in resources.files(f"sql.{layer}").iterdir() if path.name.endswith(".sql"))


@dataclass(frozen=True, slots=True)
class Past:
    """A moment looked back to: rows that were not known then are hidden, but for those of the run that looks back."""

    as_of: datetime
    run_id: str = ""


class Views:
    """The relations over one state, each made with those it reads when a question first names it.

    `with_staged` adds the rows that wait for the gate; `past` hides every row that was not known then.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        installation: Installation,
        manifest: Manifest,
        *,
        with_staged: bool = False,
        past: Past | None = None,
    ) -> None:
        connection.execute("SET GLOBAL TimeZone = 'UTC'")  # of its cursors, too
        self._connection, self._installation, self._manifest = connection, installation, manifest
        self._with_staged, self._past = with_staged, past
        self._relations = {
            name: read_sql(layer, name, outcome=installation.outcome, embedding_size=installation.embedding_size)
            for layer in LAYERS
            for name in layer_names(layer)
        }
        self._made: set[str] = set()
        self._later_runs = _later_runs(connection, self._union("runs"), past) if past else ""

    def make_all(self) -> None:
        """Every relation."""
        for name in (*(f"raw_{name}" for name in raw_names()), *self._relations):
            self._make(name)

    def make_for(self, question: str) -> None:
        """What a question names, and what those read."""
        for word in _WORD.findall(_NO_NAMES.sub("", question)):
            if word.removeprefix("raw_") in raw_names() or word in self._relations:
                self._make(word)

    def _make(self, name: str) -> None:
        if name in self._made:
            return
        if name not in self._relations:
            if name.startswith("raw_"):
                self._make_raw(name.removeprefix("raw_"))
                self._made.add(name)
            return
        relation = self._relations[name]
        self.make_for(relation.body)
        if relation.parameters is None:
            self._connection.execute(f"CREATE VIEW {relation.name} AS {relation.body}")
        else:
            self._connection.execute(f"CREATE MACRO {relation.name}({relation.parameters}) AS TABLE {relation.body}")
        self._made.add(name)

    def _make_raw(self, name: str) -> None:
        table = TABLES[name.removesuffix(_CLOCKS_ALONE)]
        where = f" WHERE {_was_known(table, self._later_runs, self._past)}" if self._past else ""
        with reading():
            self._connection.execute(f"CREATE VIEW raw_{name} AS FROM ({self._union(name)}){where}")

    def _union(self, name: str) -> str:
        return union_of(self._installation, self._manifest, name, with_staged=self._with_staged)


def build_views(connection: duckdb.DuckDBPyConnection, installation: Installation, manifest: Manifest) -> None:
    """Create every relation: raw files, then staging, views and marts."""
    Views(connection, installation, manifest).make_all()


def relation_names(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The relations a user may ask, without the raw ones."""
    names = rows_of(connection, "FROM duckdb_views()")
    return sorted(
        {row["view_name"] for row in names if not row["internal"] and not row["view_name"].startswith("raw_")}
    )


def rows_of(connection: duckdb.DuckDBPyConnection, question: str) -> list[dict[str, Any]]:
    """The answer as dictionaries."""
    answer: Any = connection.sql(question).to_arrow_table()
    return list(answer.to_pylist())


def data_files(installation: Installation, manifest: Manifest) -> list[str]:
    """Every Parquet file the views read, absolute: all that `clnm sql` may open."""
    published = [path for entry in manifest.tables.values() for path in entry.all_files()]
    empties = [str(_empty_file(installation, table)) for table in TABLES.values()]
    return [str(installation.root / path) for path in published] + empties


@cache
def raw_names() -> tuple[str, ...]:
    """What each `raw_` view reads: the rows of a table, or of a wide one its keys and clocks alone.

    To name the 1,500 columns of a wide table takes a question longer than to find the rows that count.
    """
    wide = [table.name for table in TABLES.values() if {"roi_key", "feature_set_version"} == set(table.key)]
    return (*TABLES, *(f"{name}{_CLOCKS_ALONE}" for name in wide))


def union_of(installation: Installation, manifest: Manifest, name: str, *, with_staged: bool = False) -> str:
    """The query that reads all rows of one of `raw_names`."""
    return " UNION ALL BY NAME ".join(_sources(installation, manifest, name, with_staged=with_staged))


def _sources(installation: Installation, manifest: Manifest, name: str, *, with_staged: bool) -> Iterator[str]:
    """An empty file with every column, then one `read_parquet` per schema of published and of staged files.

    Never `union_by_name`: it opens every file to compare 1,500 columns.
    """
    table = TABLES[name.removesuffix(_CLOCKS_ALONE)]
    narrow = [column.name for column in table.columns if name != table.name and not pa.types.is_list(column.type)]
    columns = [*narrow, *(column.name for column in LINEAGE)] if narrow else []
    yield _select(columns) + _read([str(_empty_file(installation, table))], is_partitioned=False)
    published = manifest.tables.get(table.name)
    for group in published.files.values() if published else ():
        yield _select(columns) + _read(
            [str(installation.root / path) for path in group], is_partitioned=table.has_center
        )
    staged: dict[str, list[str]] = {}
    for path in manifest.staged_files(table.name) if with_staged else ():
        staged.setdefault(Path(path).parent.name, []).append(str(installation.root / path))
    for paths in staged.values():
        yield _select(narrow) + _read(paths, is_partitioned=False)


def _select(columns: Sequence[str]) -> str:
    return f"SELECT {', '.join(columns)} " if columns else ""


def _later_runs(connection: duckdb.DuckDBPyConnection, runs: str, past: Past) -> str:
    """The runs that began later, as a list of SQL."""
    later = rows_of(connection, f"FROM ({runs}) WHERE started_at > TIMESTAMPTZ '{past.as_of.isoformat()}'")
    return ", ".join(f"'{quoted(row['run_id'])}'" for row in later if row["run_id"] != past.run_id)


def _was_known(table: Table, later_runs: str, past: Past) -> str:
    """The condition that hides what was not known then: changes of state that came later among it."""
    names, moment = [column.name for column in table.columns], f"TIMESTAMPTZ '{past.as_of.isoformat()}'"
    if table.name in _CONFIGURATION:
        return "TRUE"
    clock = next((name for name in _CLOCKS if name in names), None)
    if clock is None:
        is_later = f"list_contains([{later_runs}]::VARCHAR[], run_id) OR coalesce({_RUN_BEGAN} > {moment}, FALSE)"
        return f"run_id IS NULL OR run_id = '{quoted(past.run_id)}' OR NOT ({is_later})"
    later = f"greatest({clock}, resolved_at)" if "resolved_at" in names else clock
    return f"{later} <= {moment}"


def _read(paths: Sequence[str], *, is_partitioned: bool) -> str:
    listed = ", ".join(f"'{quoted(path)}'" for path in paths)
    hive = (
        "hive_partitioning = true, hive_types = {'center': VARCHAR}" if is_partitioned else "hive_partitioning = false"
    )
    return f"FROM read_parquet([{listed}], {hive})"


def quoted(path: str | Path) -> str:
    """A text as it stands between quotes in SQL."""
    return str(path).replace("'", "''")


def _empty_file(installation: Installation, table: Table) -> Path:
    """A Parquet file without rows but with every column, so that any question works on an empty store.

    It is the first file of every view: when the store was moved, its name is in the sentence that any client shows.
    """
    schema = table.schema()
    if table.name == "clinical":
        for name, kind in installation.clinical_types().items():
            schema = schema.append(pa.field(name, kind))
    digest = hashlib.sha256(schema.to_string().encode()).hexdigest()[:12]
    path = installation.root / "tables" / "empty" / f"{table.name}-{digest}-{_IF_MOVED}.parquet"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = pa.BufferOutputStream()
        pq.write_table(schema.empty_table(), buffer)
        replace_file(path, buffer.getvalue().to_pybytes())
    return path
