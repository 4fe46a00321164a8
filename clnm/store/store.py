"""The store as the pipeline sees it: one writer, any number of readers, questions by name."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from clnm.entities import ClinicalVariable
from clnm.errors import StoreError, nearest
from clnm.store import asking
from clnm.store.catalog import write_catalog
from clnm.store.commit import Writer
from clnm.store.damage import reading
from clnm.store.lock import hold_lock
from clnm.store.manifest import Manifest, read_manifest
from clnm.store.mirror import Mirror
from clnm.store.staging import demand_whole, staged_features
from clnm.store.tables import LINEAGE, TABLES
from clnm.store.warehouse import Installation, Past, Views, read_sql, relation_names, rows_of

if TYPE_CHECKING:
    import pandas as pd


_ROWS_AT_A_TIME = 2048
"""Of 1,500 columns: 25 MB."""


class Store:
    """A folder of tables. Opening it has no effect; reading needs no lock."""

    def __init__(
        self,
        root: Path,
        *,
        variables: Sequence[ClinicalVariable] = (),
        outcome: str = "clnm",
        embedding_size: int | None = None,
        mirror: Mirror | None = None,
        past: Past | None = None,
    ) -> None:
        self.root, self._mirror, self._past = root, mirror, past
        self._installation = Installation(root, tuple(variables), outcome, embedding_size)
        self._connections: dict[bool, tuple[int, duckdb.DuckDBPyConnection, Views]] = {}
        self._one_at_a_time = threading.Lock()
        """Views are made by whoever first asks for them."""
        atexit.register(self.close)

    def looking_back(self, as_of: datetime, run_id: str) -> Store:
        """The same store as known at `as_of`, with what the run that looks back has written."""
        return Store(
            self.root,
            variables=self._installation.variables,
            outcome=self._installation.outcome,
            embedding_size=self._installation.embedding_size,
            past=Past(as_of, run_id),
        )

    @contextmanager
    def writer(self, *, run_id: str, command: str, started_at: datetime) -> Iterator[Writer]:
        """The one writer, under the store's lock; undoes first what a killed run left unfinished.

        Raises:
            LockedError: another run holds the lock.
            StoreError: the store cannot be written.
        """
        with ExitStack() as stack:
            stack.enter_context(hold_lock(self.root, run_id=run_id, command=command, since=started_at))
            if self._mirror:
                holder = {"run_id": run_id, "command": command, "since": started_at.isoformat(timespec="seconds")}
                stack.enter_context(self._mirror.writing(holder))
            writer = Writer(
                self.root,
                run_id,
                clinical_types=self._installation.clinical_types(),
                publish=self._mirror.publish if self._mirror else None,
                after_commit=self._refresh_catalog,
            )
            try:
                yield writer
            finally:
                if writer.is_changed:
                    write_catalog(self._installation, self.manifest())

    def pull(self) -> None:
        """Bring the mirror of a store in a bucket to its present state, catalogue included; nothing for a folder.

        Raises:
            StoreError: the bucket cannot be reached.
        """
        if self._mirror and self._mirror.pull():
            self._refresh_catalog()

    def push_restored(self) -> None:
        """Put what was restored into the bucket; nothing for a folder."""
        if self._mirror:
            self._mirror.push_restored()

    def close(self) -> None:
        """Let go of the connections; the next question opens new ones."""
        while self._connections:
            self._connections.popitem()[1][1].close()

    def manifest(self) -> Manifest:
        """The current state."""
        return read_manifest(self.root)

    def kept(self, name: str) -> str | None:
        """The path (relative to the root) kept under `name`, if any."""
        return self.manifest().kept.get(name)

    def run_query(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of `sql/queries/<name>.sql`; parameters are bound, never pasted."""
        return self.table(name, **parameters).to_pylist()

    def table(self, name: str, **parameters: Any) -> pa.Table:
        """The same as an Arrow table. A query headed `-- Reads: staged` sees the rows that wait for the gate, too."""
        with self._query(name) as (cursor, query):
            return cursor.sql(query, params=parameters or None).to_arrow_table()

    def frame(self, name: str, **parameters: Any) -> pd.DataFrame:
        """The same as a pandas frame."""
        return self.table(name, **parameters).to_pandas()

    def summary(self, name: str, **parameters: Any) -> pd.DataFrame:
        """The same of a few rows; several threads can ask at once.

        DuckDB binds a relation when it is made and again when it is read. Of a question over 1,500 columns that is a
        third of the time; in return, the answer is copied.
        """
        with self._query(name) as (cursor, query):
            frame: pd.DataFrame = cursor.execute(query, parameters).df()
        with_nulls = [column for column in frame if frame[column].dtype == "Int64"]
        return frame.astype(dict.fromkeys(with_nulls, float))

    @contextmanager
    def _query(self, name: str) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
        """A connection of the caller's own with all that a query names, and its text."""
        query = read_sql("queries", name, outcome=self._installation.outcome).body
        with_staged = "-- Reads: staged" in query
        try:
            with reading():
                with self._one_at_a_time:
                    cursor = self._connection(query, with_staged=with_staged).cursor()
                with cursor:
                    yield cursor, query
        except StoreError:
            if with_staged:
                demand_whole(self.root, self.manifest())
            raise

    def training_frame(self, as_of: datetime) -> pd.DataFrame:
        """Cases of train and external centers with an outcome known at `as_of`, their features and embeddings."""
        return self.frame("training_frame", as_of=as_of)

    def case_frame(self, as_of: datetime, *, center: str | None = None) -> pd.DataFrame:
        """Every case known at `as_of` with what was known of it: clinical values, outcome, features, latest score."""
        return self.frame("case_frame", as_of=as_of, center=center)

    @property
    def clinical_variables(self) -> tuple[str, ...]:
        """The variables of the installation, as configured now."""
        return tuple(self._installation.clinical_types())

    def feature_names(self) -> list[str]:
        """The radiomics columns there are, in the order of the table."""
        fixed = {column.name for column in (*TABLES["radiomics"].columns, *LINEAGE)}
        question = "DESCRIBE radiomics"
        columns = rows_of(self._connection(question), question)
        return [row["column_name"] for row in columns if row["column_name"] not in fixed]

    def staged_features(self, center: str) -> list[str]:
        """The features that a center's staged rows have a column for, be it without a value.

        Raises:
            StoreError: a staged file is missing or damaged.
        """
        paths = self.manifest().staged_files("radiomics", center)
        one_of_each = {Path(path).parent: path for path in paths}.values()
        return staged_features(self.root, list(one_of_each))

    def staged_bytes(self, center: str) -> int:
        """How much a center's staged files hold."""
        paths = [path for files in self.manifest().staged.get(center, {}).values() for path in files]
        return sum((self.root / path).stat().st_size for path in paths)

    def relations(self) -> list[str]:
        """The relations a user may ask."""
        connection, views = self._views(with_staged=False)
        views.make_all()
        return relation_names(connection)

    def relation(self, name: str) -> pa.Table:
        """All rows of one relation."""
        if name not in self.relations():
            raise StoreError(f"no relation {name!r}; {nearest(name, self.relations())}")
        if name == "data_dictionary":
            return self.ask(f"FROM {name}")  # with the comments
        with reading():
            return self._connection(name).sql(f"FROM {name}").to_arrow_table()

    def readers(self) -> Iterator[tuple[str, pa.RecordBatchReader]]:
        """All rows of every relation, some at a time and all of one state."""
        connection, views = self._views(with_staged=False)
        views.make_all()
        for name in relation_names(connection):
            if name == "data_dictionary":
                yield name, self.relation(name).to_reader()
            else:
                yield name, connection.sql(f"FROM {name}").to_arrow_reader(_ROWS_AT_A_TIME)

    def ask(self, question: str, *, as_of: datetime | None = None) -> pa.Table:
        """`clnm sql`: see `asking.answer`."""
        self._demand_there()
        return asking.answer(self._installation, self.manifest(), question, as_of)

    def rebuild_catalog(self) -> int:
        """Write `catalog.duckdb` anew, comments and all; returns how many relations it holds."""
        self._demand_there()
        return write_catalog(self._installation, self.manifest(), anew=True)

    def _refresh_catalog(self) -> None:
        write_catalog(self._installation, self.manifest(), with_comments=False)

    def _demand_there(self) -> None:
        if not self.root.is_dir():
            raise StoreError("there is no store yet; `clnm nightly` makes it")

    def _views(self, *, with_staged: bool) -> tuple[duckdb.DuckDBPyConnection, Views]:
        """A connection in memory and its relations over the current state; new ones when the state changed."""
        self._demand_there()
        manifest = self.manifest()
        if with_staged in self._connections:
            seq, connection, views = self._connections[with_staged]
            if seq == manifest.seq:
                return connection, views
            connection.close()
        connection = duckdb.connect()
        views = Views(connection, self._installation, manifest, with_staged=with_staged, past=self._past)
        self._connections[with_staged] = (manifest.seq, connection, views)
        return connection, views

    def _connection(self, question: str, *, with_staged: bool = False) -> duckdb.DuckDBPyConnection:
        """A connection in which everything that the question names is there."""
        connection, views = self._views(with_staged=with_staged)
        views.make_for(question)
        return connection
