"""All or nothing: rows are written first, the manifest last; what a killed run left is undone at the next start."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pyarrow as pa

from clnm.entities import Lineage
from clnm.errors import StoreError
from clnm.store.delta import append_rows
from clnm.store.manifest import Manifest, checksums_of, next_state, read_manifest, write_manifest
from clnm.store.recovery import recover, sweep_ledgers
from clnm.store.staging import StagedRows, checked_rows, encode_table, read_staged
from clnm.store.tables import LINEAGE, TABLES


@dataclass(slots=True)
class Batch:
    """What one commit will do. Nothing happens before the block ends without an error."""

    clinical_types: Mapping[str, pa.DataType]
    """The types of the installation's clinical variables."""
    staged: list[StagedRows] = field(default_factory=list)
    appended: list[tuple[str, pa.Table]] = field(default_factory=list)
    published: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)

    def stage(self, relation: str, center: str, table: pa.Table) -> None:
        """Rows of a gated relation: they wait until their center's batch passed the gate.

        Raises:
            ValueError: a column is missing, unknown, or not of its type.
        """
        self.stage_encoded(encode_table(relation, center, table, self.clinical_types))

    def stage_encoded(self, staged: StagedRows) -> None:
        """The same of rows that somebody else has checked and encoded: a worker."""
        self.staged.append(staged)

    def append(self, relation: str, table: pa.Table) -> None:
        """Rows of an ungated relation: published by this commit.

        Raises:
            ValueError: a column is missing, unknown, or not of its type.
        """
        if TABLES[relation].is_gated:
            raise ValueError(f"{relation} is gated: stage its rows")
        self.appended.append((relation, checked_rows(TABLES[relation], table, {})))

    def publish(self, center: str) -> None:
        """Move all of a center's staged rows to the published tables."""
        self.published.append(center)

    def drop(self, center: str) -> None:
        """Let a center's staged rows go."""
        self.dropped.append(center)

    def keep(self, name: str, path: str) -> None:
        """Name a file (relative to the root) of the new state; the one kept under `name` before is let go."""
        self.kept[name] = path


class Writer:
    """The one writer of a store, under its lock."""

    def __init__(
        self,
        root: Path,
        run_id: str,
        *,
        clinical_types: Mapping[str, pa.DataType],
        publish: Callable[[Manifest], None] | None = None,
        after_commit: Callable[[], None] = lambda: None,
    ) -> None:
        self._root, self._run_id, self._after_commit = root, run_id, after_commit
        self.publish = publish or partial(write_manifest, root)
        """Makes a state the present one: the last step of every change."""
        self._clinical_types = clinical_types
        self.is_changed = False
        """Whether a published table changed since this writer began."""
        self._is_broken_off = False
        recover(root, run_id)

    @contextmanager
    def commit(self, lineage: Lineage) -> Iterator[Batch]:
        """One atomic step: all of the batch is visible after the block, or nothing of it.

        Raises:
            StoreError: the disk is full or unwritable, or a table is damaged; the last state is intact.
        """
        batch = Batch(self._clinical_types)
        yield batch
        before = recover(self._root, self._run_id) if self._is_broken_off else read_manifest(self._root)
        self._is_broken_off = True
        try:
            after = self._write(batch, lineage, before)
        except (OSError, pa.ArrowException) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            raise StoreError(
                f"the commit failed ({reason}); the last state is intact, run again when mended"
            ) from error
        self._is_broken_off = False
        for path in before.named_files() - after.named_files():
            (self._root / path).unlink(missing_ok=True)
        if before.kept != after.kept:
            sweep_ledgers(self._root, after, self._run_id)
        if after.tables != before.tables:
            self.is_changed = True
            self._after_commit()

    def _write(self, batch: Batch, lineage: Lineage, before: Manifest) -> Manifest:
        seq = before.seq + 1
        additions = batch.appended + [
            (relation, read_staged(self._root, relation, paths))
            for relation, paths in _to_publish(before, batch.published).items()
        ]
        tables = dict(before.tables)
        for relation in dict.fromkeys(name for name, table in additions if table.num_rows):
            parts = [table for name, table in additions if name == relation]
            content = _with_lineage(pa.concat_tables(parts, promote_options="permissive"), lineage, seq)
            tables[relation] = append_rows(
                self._root, relation, content, tables.get(relation), run_id=self._run_id, seq=str(seq)
            )
        after = next_state(
            before,
            run_id=self._run_id,
            committed_at=datetime.now(UTC).isoformat(timespec="seconds"),
            tables=tables,
            staged=self._stage(before, batch, seq),
            kept={**before.kept, **batch.kept},
        )
        after = replace(after, checksums=checksums_of(self._root, before, after, batch.kept.values()))
        self.publish(after)
        return after

    def _stage(self, before: Manifest, batch: Batch, seq: int) -> dict[str, dict[str, tuple[str, ...]]]:
        staged = {
            center: dict(relations)
            for center, relations in before.staged.items()
            if center not in (*batch.published, *batch.dropped)
        }
        files = [(rows, rows.path(f"{seq:08d}-{number:03d}")) for number, rows in enumerate(batch.staged)]
        for rows, path in files:
            relations = staged.setdefault(rows.center, {})
            relations[rows.relation] = (*relations.get(rows.relation, ()), path)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda file: file[0].write(self._root / file[1]), files))
        return staged


def _to_publish(before: Manifest, centers: Sequence[str]) -> dict[str, list[str]]:
    """The staged files of some centers by relation, in the order in which they were staged."""
    found: dict[str, list[str]] = {}
    for center in centers:
        for relation in before.staged.get(center, {}):
            found.setdefault(relation, []).extend(before.staged_files(relation, center))
    return found


def _with_lineage(content: pa.Table, lineage: Lineage, seq: int) -> pa.Table:
    values = {**asdict(lineage), "commit_seq": seq}
    for column in LINEAGE:
        filled = pa.array([values[column.name]] * content.num_rows, column.type)
        content = content.append_column(column.name, filled)
    return content
