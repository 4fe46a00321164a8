"""The ledger: the state of every file ever seen at one center, kept under `private/` because it holds paths.

A run reads the last snapshot, compares it with the walk, and writes the next one; the store's manifest names the one
in force. It stays an Arrow table: rows become `Entry` objects only where something is to be done with them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clnm.archive.entry import Entry, Kind
from clnm.entities import FileStatus, Reason, as_row
from clnm.errors import StoreError, writing


@dataclass(frozen=True, slots=True)
class Aside:
    """Something set aside and not resolved yet."""

    item_key: str
    kind: str
    reason: str
    detail: str
    first_seen_at: datetime


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
_TEXTS = [(name, pa.string()) for name in ("key", "kind", "reason", "detail")]
_REST = pa.schema([*_TEXTS, ("first_seen_at", _moment()), ("sealed", pa.binary())])
_EMITTED, _PATIENT, _DIGEST, _LINK, _DATES = "emitted", "patient", "digest", "link", "dates"
_NO_ASIDES = (_EMITTED, _PATIENT, _DIGEST, _LINK, _DATES)
"""Kinds of rows in the second file that are no `Aside`."""
_SHIFTED = "shifted"


@dataclass(frozen=True, slots=True, repr=False)
class Ledger:
    """A snapshot: `files` has one row per `Entry`, in the order of source and path."""

    files: pa.Table = field(default_factory=_ENTRIES.empty_table)
    asides: tuple[Aside, ...] = ()
    emitted: frozenset[str] = frozenset()
    """Keyed hashes of the rows that the tables held when they were last read; all of them are in the store."""
    patients: frozenset[str] = frozenset()
    """Patients that the clinical and outcome tables speak of."""
    links: Mapping[str, bytes] = field(default_factory=dict)
    """The hospital's own ids by patient_key, sealed for the holder of the link key."""
    has_shifted_dates: bool = False
    """Whether the dates of its images and rows are shifted by patient."""
    tables_digest: str = ""
    """What the tables and the configuration of their words were when they were last read."""

    @staticmethod
    def empty() -> Ledger:
        """The ledger of a center never looked at."""
        return Ledger()

    @staticmethod
    def read(path: Path) -> Ledger:
        """Read a snapshot.

        Raises:
            StoreError: it is missing, damaged, or of another version.
        """
        try:
            files = pq.read_table(path, partitioning=None).cast(_ENTRIES)
            rest = pq.read_table(_beside(path), partitioning=None).to_pylist()
        except (OSError, ValueError, pa.ArrowException):
            raise StoreError("a ledger under private/ is missing or damaged; restore the store from a backup") from None
        special = {kind: [row["key"] for row in rest if row["kind"] == kind] for kind in _NO_ASIDES}
        return Ledger(
            files=files,
            asides=tuple(
                Aside(row["key"], row["kind"], row["reason"], row["detail"], row["first_seen_at"])
                for row in rest
                if row["kind"] not in special
            ),
            emitted=frozenset(special[_EMITTED]),
            patients=frozenset(special[_PATIENT]),
            links={row["key"]: row["sealed"] for row in rest if row["kind"] == _LINK},
            has_shifted_dates=special[_DATES] == [_SHIFTED],
            tables_digest=next(iter(special[_DIGEST]), ""),
        )

    def write(self, path: Path) -> None:
        """Write the snapshot: scratch, sync, rename; readable by the owner alone."""
        rest: list[dict[str, Any]] = [{**asdict(aside), "key": aside.item_key} for aside in self.asides]
        keyed = {_EMITTED: self.emitted, _PATIENT: self.patients, _DIGEST: {self.tables_digest}}
        keyed |= {_DATES: {_SHIFTED} if self.has_shifted_dates else set()}
        rest += [{"key": key, "kind": kind} for kind, keys in keyed.items() for key in sorted(keys)]
        rest += [{"key": key, "kind": _LINK, "sealed": sealed} for key, sealed in sorted(self.links.items())]
        _write(_beside(path), pa.Table.from_pylist(rest, schema=_REST))
        _write(path, self.files)

    def column(self, name: str) -> pa.ChunkedArray:
        """One column of `files`."""
        return self.files.column(name)

    def entries(self, rows: np.ndarray | pa.Array | pa.ChunkedArray | None = None) -> list[Entry]:
        """The entries of a row mask (or of row numbers), in the ledger's order; all of them without one."""
        table = self.files
        if rows is not None:
            chosen = rows if isinstance(rows, pa.Array | pa.ChunkedArray) else pa.array(rows)
            table = table.filter(chosen) if pa.types.is_boolean(chosen.type) else table.take(chosen)
        return [_entry(row) for row in table.to_pylist()]

    def where(self, name: str, values: Sequence[Any]) -> list[Entry]:
        """The entries whose column `name` holds one of some values."""
        return self.entries(pc.is_in(self.column(name), value_set=pa.array(values, self.column(name).type)))

    def with_entries(self, entries: Iterable[Entry]) -> pa.Table:
        """`files` with some entries put in the place of those of the same file, or added."""
        rows = [as_row(entry) for entry in entries]
        if not rows:
            return self.files
        fresh = pa.Table.from_pylist(rows, schema=_ENTRIES)
        is_replaced = pc.is_in(self.column("file_key"), value_set=fresh.column("file_key").combine_chunks())
        joined = pa.concat_tables([self.files.filter(pc.invert(is_replaced)), fresh])
        return joined.sort_by([("source", "ascending"), ("path", "ascending")]).combine_chunks()

    def counts(self) -> dict[str, int]:
        """How many files are in each state."""
        found = {row["values"]: row["counts"] for row in pc.value_counts(self.column("status")).to_pylist()}
        return {status.value: found.get(status.value, 0) for status in FileStatus}

    def is_fetched(self, source: str) -> bool:
        """Whether a source was listed, and nothing of it waits to be fetched."""
        reasons = self.column("reason").filter(pc.equal(self.column("source"), source))
        return len(reasons) > 0 and not pc.any(pc.equal(reasons, Reason.NOT_FETCHED.value)).as_py()

    def forget_looks(self, keys: Iterable[str]) -> Ledger:
        """The same ledger, but these files will be looked at again."""
        chosen = self.where("file_key", sorted(keys))
        return replace(self, files=self.with_entries(replace(entry, mtime_ns=-1) for entry in chosen))

    def of_patient(self, patient_key: str, image_keys: Iterable[str] = ()) -> list[Entry]:
        """A patient's files, refused ones among them, and the masks of their images."""
        mine = self.where("patient_key", [patient_key])
        images = {*image_keys, *(str(entry.image_key) for entry in mine if entry.image_key)}
        return list({entry.file_key: entry for entry in (*mine, *self.where("image_key", sorted(images)))}.values())

    def without(self, patient_key: str, image_keys: Iterable[str]) -> Ledger:
        """The same ledger with nothing of a patient in it: the next look takes what is still there for new."""
        images = set(image_keys)
        theirs = {entry.file_key for entry in self.of_patient(patient_key, images)}
        is_theirs = pc.is_in(self.column("file_key"), value_set=pa.array(sorted(theirs), pa.string()))
        gone = {patient_key, *images, *theirs}
        return replace(
            self,
            files=self.files.filter(pc.invert(is_theirs)),
            asides=tuple(aside for aside in self.asides if aside.item_key not in gone),
            patients=self.patients - {patient_key},
            links={key: sealed for key, sealed in self.links.items() if key != patient_key},
            tables_digest="",
        )

    def path_of(self, key: str) -> str | None:
        """The path below its archive entry of a file, or of the file an image came from: for an operator's eyes."""
        for entry in self.where("file_key", [key]) or self.where("image_key", [key]):
            return f"{entry.source}: {os.fsdecode(entry.path)!r}"
        return None


def _entry(row: dict[str, Any]) -> Entry:
    return Entry(**{**row, "kind": Kind(row["kind"]), "status": FileStatus(row["status"])})


def _beside(path: Path) -> Path:
    return path.with_suffix(".rows.parquet")


def _write(path: Path, table: pa.Table) -> None:
    scratch = path.with_name(path.name + ".scratch")
    with writing("a ledger"):
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - the mode is the descriptor's
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        scratch.rename(path)
