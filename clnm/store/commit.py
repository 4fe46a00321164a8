"""All or nothing: rows are written first, the manifest last; what a killed run left is undone at the next start."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import DeltaError

from clnm.entities import Lineage
from clnm.errors import StoreError
from clnm.store.manifest import Manifest, Published, next_state, read_manifest, replace_file, write_manifest
from clnm.store.tables import LINEAGE, TABLES, Table

_COMPRESSION = "zstd"


@dataclass(slots=True)
class Batch:
    """What one commit will do. Nothing happens before the block ends without an error."""

    staged: list[tuple[str, str, pa.Table]] = field(default_factory=list)
    appended: list[tuple[str, pa.Table]] = field(default_factory=list)
    published: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)

    def stage(self, relation: str, center: str, table: pa.Table) -> None:
        """Rows of a gated relation: they wait until their center's batch passed the gate."""
        if not TABLES[relation].is_gated:
            raise ValueError(f"{relation} is not gated")
        self.staged.append((relation, center, table))

    def append(self, relation: str, table: pa.Table) -> None:
        """Rows of an ungated relation: published by this commit."""
        if TABLES[relation].is_gated:
            raise ValueError(f"{relation} is gated: stage its rows")
        self.appended.append((relation, table))

    def publish(self, center: str) -> None:
        """Move all of a center's staged rows to the published tables."""
        self.published.append(center)

    def drop(self, center: str) -> None:
        """Forget a center's staged rows."""
        self.dropped.append(center)

    def keep(self, name: str, path: str) -> None:
        """Name a file (relative to the root) of the new state; the one kept under `name` before is let go."""
        self.kept[name] = path


class Writer:
    """The one writer of a store, under its lock."""

    def __init__(self, root: Path, run_id: str, *, after_commit: Callable[[], None] = lambda: None) -> None:
        self._root, self._run_id, self._after_commit = root, run_id, after_commit
        self.is_changed = False
        """Whether a published table changed since this writer began."""
        _undo_unfinished(root, read_manifest(root), run_id)

    @contextmanager
    def commit(self, lineage: Lineage) -> Iterator[Batch]:
        """One atomic step: all of the batch is visible after the block, or nothing of it.

        Raises:
            StoreError: the disk is full or unwritable, or a table is damaged; the last state is intact.
        """
        batch = Batch()
        yield batch
        try:
            self._write(batch, lineage)
        except (DeltaError, OSError, pa.ArrowException) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            raise StoreError(
                f"the commit failed ({reason}); the last state is intact, run again when mended"
            ) from error

    def _write(self, batch: Batch, lineage: Lineage) -> None:
        before = read_manifest(self._root)
        seq = before.seq + 1
        additions = [(name, _with_lineage(TABLES[name], table, lineage, seq)) for name, table in batch.appended]
        for center in batch.published:
            for relation in before.staged.get(center, {}):
                staged = self._read_staged(before.staged_files(relation, center))
                additions.append((relation, _with_lineage(TABLES[relation], staged, lineage, seq)))
        tables = dict(before.tables)
        for relation in dict.fromkeys(name for name, table in additions if table.num_rows):
            parts = [table for name, table in additions if name == relation]
            content = pa.concat_tables(parts, promote_options="permissive")
            tables[relation] = self._append(relation, content, tables.get(relation), seq)
            self.is_changed = True
        manifest = next_state(
            before,
            run_id=self._run_id,
            committed_at=datetime.now(UTC).isoformat(timespec="seconds"),
            tables=tables,
            staged=self._stage(before, batch, seq),
            kept={**before.kept, **batch.kept},
        )
        write_manifest(self._root, manifest)
        if additions:
            self._after_commit()
        _delete(self._root, before.named_files() - manifest.named_files())

    def _append(self, relation: str, content: pa.Table, before: Published | None, seq: int) -> Published:
        path = self._root / "tables" / relation
        transaction = Transaction(f"clnm/{self._run_id}/{relation}", seq)
        write_deltalake(
            str(path),
            content,
            mode="append",
            partition_by=["center"] if TABLES[relation].has_center else None,
            schema_mode="merge",
            commit_properties=CommitProperties(
                app_transactions=[transaction], custom_metadata={"run_id": self._run_id, "seq": str(seq)}
            ),
        )
        return describe_table(self._root, relation, before)

    def _stage(self, before: Manifest, batch: Batch, seq: int) -> dict[str, dict[str, tuple[str, ...]]]:
        staged = {
            center: dict(relations)
            for center, relations in before.staged.items()
            if center not in (*batch.published, *batch.dropped)
        }
        for number, (relation, center, table) in enumerate(batch.staged):
            checked = _checked(TABLES[relation], table)
            relative = f"staging/{relation}/{center}/{seq:08d}-{number:03d}.parquet"
            path = self._root / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            buffer = pa.BufferOutputStream()
            pq.write_table(checked, buffer, compression=_COMPRESSION)
            replace_file(path, buffer.getvalue().to_pybytes())
            relations = staged.setdefault(center, {})
            relations[relation] = (*relations.get(relation, ()), relative)
        return staged

    def _read_staged(self, paths: list[str]) -> pa.Table:
        parts = [pq.read_table(self._root / path, partitioning=None) for path in paths]
        return pa.concat_tables(parts, promote_options="permissive")


def describe_table(root: Path, relation: str, before: Published | None) -> Published:
    """The Delta table as it stands: its version and its files by schema; known files are not opened again."""
    table = DeltaTable(str(root / "tables" / relation))
    prefix = f"tables/{relation}/"
    paths = sorted(prefix + uri.split(f"/tables/{relation}/", 1)[1] for uri in table.file_uris())
    known = {path: key for key, group in before.files.items() for path in group} if before else {}
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(known.get(path) or _schema_hash(root / path), []).append(path)
    return Published(table.version(), {key: tuple(group) for key, group in groups.items()})


def _undo_unfinished(root: Path, manifest: Manifest, run_id: str) -> None:
    """Bring Delta tables that ran ahead of the manifest back to it, and sweep files that it does not name."""
    for relation in TABLES:
        path = root / "tables" / relation
        if not (path / "_delta_log").is_dir():
            continue
        table, published = DeltaTable(str(path)), manifest.tables.get(relation)
        if published is None:
            table.delete(commit_properties=_undo_note(run_id))
        elif table.version() > published.version and not _is_undone(table, published, root, relation):
            table.restore(published.version, commit_properties=_undo_note(run_id))
    for path in (root / "staging").rglob("*.parquet") if (root / "staging").is_dir() else ():
        if str(path.relative_to(root)) not in manifest.named_files():
            path.unlink()


def _is_undone(table: DeltaTable, published: Published, root: Path, relation: str) -> bool:
    del table
    now = describe_table(root, relation, published)
    return set(_all_files(now)) == set(_all_files(published))


def _all_files(published: Published) -> list[str]:
    return [path for group in published.files.values() for path in group]


def _undo_note(run_id: str) -> CommitProperties:
    return CommitProperties(custom_metadata={"run_id": run_id, "undo": "unfinished commit"})


def _with_lineage(table: Table, content: pa.Table, lineage: Lineage, seq: int) -> pa.Table:
    checked = _checked(table, content)
    for name, value in {**asdict(lineage), "commit_seq": seq}.items():
        kind = next(column.type for column in LINEAGE if column.name == name)
        checked = checked.append_column(name, pa.array([value] * checked.num_rows, kind))
    return checked


def _checked(table: Table, content: pa.Table) -> pa.Table:
    """`content` with the table's columns in order and of their types; more columns only where the table is open."""
    names = [column.name for column in table.columns]
    missing = [name for name in names if name not in content.column_names]
    extra = [name for name in content.column_names if name not in names]
    if missing or (extra and not table.is_open):
        raise ValueError(f"{table.name}: missing columns {missing}, unknown columns {[] if table.is_open else extra}")
    fixed = pa.schema([pa.field(column.name, column.type) for column in table.columns])
    checked = content.select(names).cast(fixed)
    for name in extra:
        checked = checked.append_column(name, content.column(name))
    return checked


def _schema_hash(path: Path) -> str:
    schema = pq.read_schema(path)
    return hashlib.sha256(json.dumps(schema.names).encode()).hexdigest()[:12]


def _delete(root: Path, paths: set[str]) -> None:
    for path in paths:
        (root / path).unlink(missing_ok=True)
