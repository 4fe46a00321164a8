"""The ledger: the state of every file ever seen at one center, kept under `private/` because it holds paths.

A run reads the last snapshot, compares it with the walk, and writes the next one; the store's manifest names the one
in force.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clnm.entities import FileState, FileStatus
from clnm.errors import StoreError


class Kind(StrEnum):
    """What a file is to us."""

    IMAGE = "image"
    MASK = "mask"
    TABLE = "table"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or member: where it is, how it looked, what became of it, and what matching a later mask needs."""

    file_key: str
    source: str
    path: bytes
    size_bytes: int
    mtime_ns: int
    inode: int
    kind: Kind
    status: FileStatus
    first_seen_at: datetime
    last_seen_at: datetime
    reason: str = ""
    detail: str = ""
    sha256: str | None = None
    attempts: int = 1
    stem: str = ""
    image_key: str | None = None
    patient_key: str | None = None
    study_key: str | None = None
    acquired_at: datetime | None = None
    rows_px: int = 0
    columns_px: int = 0
    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0
    spacing_x_mm: float | None = None
    spacing_y_mm: float | None = None
    spacing_source: str = ""
    frame: int = 0
    reader: str = ""

    @property
    def is_settled(self) -> bool:
        """Whether nothing needs doing while the file does not change."""
        return self.status is not FileStatus.PENDING and self.status is not FileStatus.GONE

    def looks_like(self, size_bytes: int, mtime_ns: int, inode: int) -> bool:
        """Whether the file still looks as it did; any difference counts, never just "newer"."""
        return (self.size_bytes, self.mtime_ns, self.inode) == (size_bytes, mtime_ns, inode)

    def state(self, center: str) -> FileState:
        """The public row: no path, no name."""
        return FileState(
            file_key=self.file_key,
            center=center,
            source=self.source,
            status=self.status,
            reason=self.reason,
            detail=self.detail,
            image_key=self.image_key,
            size_bytes=self.size_bytes,
            sha256=self.sha256,
            first_seen_at=self.first_seen_at,
            last_seen_at=self.last_seen_at,
        )


@dataclass(frozen=True, slots=True)
class Aside:
    """Something set aside and not resolved yet."""

    item_key: str
    kind: str
    reason: str
    detail: str
    first_seen_at: datetime


@dataclass(frozen=True, slots=True)
class Ledger:
    """A snapshot. `emitted` holds keyed hashes of table rows that are in the store already."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    asides: tuple[Aside, ...] = ()
    emitted: frozenset[str] = frozenset()

    @staticmethod
    def empty() -> Ledger:
        """The ledger of a center never looked at."""
        return Ledger()

    @staticmethod
    def read(path: Path) -> Ledger:
        """Read a snapshot.

        Raises:
            StoreError: it is missing or damaged.
        """
        try:
            entries = pq.read_table(path, partitioning=None).to_pylist()
            rest = pq.read_table(_beside(path), partitioning=None).to_pylist()
        except (OSError, pa.ArrowException):
            raise StoreError("a ledger under private/ is missing or damaged; restore the store from a backup") from None
        return Ledger(
            entries={row["file_key"]: _entry(row) for row in entries},
            asides=tuple(
                Aside(row["key"], row["kind"], row["reason"], row["detail"], row["first_seen_at"])
                for row in rest
                if row["kind"]
            ),
            emitted=frozenset(row["key"] for row in rest if not row["kind"]),
        )

    def write(self, path: Path) -> None:
        """Write the snapshot: scratch, sync, rename."""
        rows = [
            {**asdict(entry), "kind": entry.kind.value, "status": entry.status.value} for entry in self.entries.values()
        ]
        rest = [_aside_row(aside) for aside in self.asides]
        rest += [
            {"key": key, "kind": "", "reason": "", "detail": "", "first_seen_at": None} for key in sorted(self.emitted)
        ]
        _write(path, pa.Table.from_pylist(rows, schema=_ENTRIES))
        _write(_beside(path), pa.Table.from_pylist(rest, schema=_REST))

    def forget_looks(self, keys: Iterable[str]) -> Ledger:
        """The same ledger, but these files will be looked at again."""
        wanted = set(keys)
        return replace(
            self,
            entries={
                key: replace(entry, mtime_ns=-1) if key in wanted else entry for key, entry in self.entries.items()
            },
        )

    def path_of(self, key: str) -> str | None:
        """The path below its archive entry of a file, or of the file an image came from: for an operator's eyes."""
        for entry in self.entries.values():
            if key in (entry.file_key, entry.image_key):
                return f"{entry.source}: {os.fsdecode(entry.path)!r}"
        return None


def _moment() -> pa.DataType:
    return pa.timestamp("us", tz="UTC")


_ARROW = {
    "bytes": pa.binary(),
    "int": pa.int64(),
    "datetime": _moment(),
    "datetime | None": _moment(),
    "float | None": pa.float64(),
}
_ENTRIES = pa.schema([pa.field(item.name, _ARROW.get(str(item.type), pa.string())) for item in fields(Entry)])
_REST = pa.schema(
    {
        "key": pa.string(),
        "kind": pa.string(),
        "reason": pa.string(),
        "detail": pa.string(),
        "first_seen_at": _moment(),
    }
)


def _entry(row: dict[str, Any]) -> Entry:
    return Entry(**{**row, "kind": Kind(row["kind"]), "status": FileStatus(row["status"])})


def _aside_row(aside: Aside) -> dict[str, Any]:
    return {
        "key": aside.item_key,
        "kind": aside.kind,
        "reason": aside.reason,
        "detail": aside.detail,
        "first_seen_at": aside.first_seen_at,
    }


def _beside(path: Path) -> Path:
    return path.with_suffix(".rows.parquet")


def _write(path: Path, table: pa.Table) -> None:
    scratch = path.with_name(path.name + ".scratch")
    with scratch.open("wb") as file:
        pq.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    scratch.rename(path)
