"""Copies of the store: export for others, backup for ourselves, and restore."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from clnm.errors import ConfigurationError, StoreError, writing
from clnm.store.damage import reading
from clnm.store.manifest import NAME, checksum, replace_file

_CHECKSUMS = "SHA256SUMS"


def export(relations: Iterable[tuple[str, pa.RecordBatchReader]], directory: Path, file_format: str) -> int:
    """One file per relation, however large it is; returns how many.

    Raises:
        ConfigurationError: the folder is not empty or cannot be made.
        StoreError: the disk is full, or a data file of the store is missing or damaged.
    """
    _demand_empty(directory)
    count = 0
    with writing("the export"), reading():
        for name, reader in relations:
            if file_format == "csv":
                _write_csv(reader, directory / f"{name}.csv")
            else:
                with pq.ParquetWriter(directory / f"{name}.parquet", reader.schema, compression="zstd") as writer:
                    for batch in reader:
                        writer.write_batch(batch)
            count += 1
    return count


def _write_csv(reader: pa.RecordBatchReader, path: Path) -> None:
    """A vector has no cell to stand in."""
    flat = [column.name for column in reader.schema if not pa.types.is_nested(column.type)]
    schema = pa.schema([reader.schema.field(name) for name in flat])
    with pa_csv.CSVWriter(path, schema) as writer:
        for batch in reader:
            writer.write_batch(batch.select(flat))


def backup(root: Path, directory: Path) -> int:
    """Copy the store as the manifest names it, its private part included, with checksums; returns how many files."""
    _demand_empty(directory)
    directory.chmod(0o700)
    lines = []
    for source in _store_files(root):
        target = directory / source.relative_to(root)
        with writing("the backup"):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
        if (digest := checksum(target)) != checksum(source):
            raise StoreError(
                f"the copy of {source.relative_to(root).parts[0]} differs; the disk of the backup is not sound"
            )
        lines.append(f"{digest}  {source.relative_to(root)}")
    replace_file(directory / _CHECKSUMS, ("\n".join(lines) + "\n").encode())
    return len(lines)


def restore(root: Path, directory: Path) -> int:
    """Copy a backup to where no store is, after checking every checksum; returns how many files.

    Raises:
        StoreError: there is a store already, the backup is not whole, or a copy differs from it.
    """
    if (root / NAME).exists():
        raise StoreError("there is a store already; move it away first")
    try:
        listed = (directory / _CHECKSUMS).read_text(encoding="utf-8").splitlines()
    except OSError:
        raise StoreError(f"no {_CHECKSUMS} there; name a folder that `clnm store backup` wrote") from None
    pairs = [(line[:64], line[66:]) for line in listed]
    for digest, name in pairs:
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise StoreError("the backup names a file outside of it; nothing was restored")
        if not (directory / name).is_file() or checksum(directory / name) != digest:
            raise StoreError(
                f"the backup is damaged: {Path(name).parts[0]} holds a file that differs; nothing was restored"
            )
    (root / "private").mkdir(parents=True, exist_ok=True, mode=0o700)
    for digest, name in sorted(pairs, key=lambda pair: pair[1] == NAME):  # the manifest last: until then no store
        target = root / name
        with writing("the store"):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(directory / name, target)
            with target.open("rb") as copied:
                os.fsync(copied.fileno())
        if checksum(target) != digest:
            raise StoreError(f"the copy of {Path(name).parts[0]} differs; the disk of the store is not sound")
    return len(pairs)


def _store_files(root: Path) -> list[Path]:
    skipped = {"lock", "catalog.duckdb", "mirror.json", "mirror.lock"}
    return sorted(
        path
        for path in root.rglob("*")
        if path.is_file() and path.name not in skipped and not path.name.endswith(".scratch")
    )


def _demand_empty(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{directory} cannot be made: {error.strerror}") from None
    if any(directory.iterdir()):
        raise ConfigurationError(f"{directory} is not empty; name a new or empty folder")
