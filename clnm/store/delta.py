"""One Delta table on disk: append to it, describe it, write it anew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import ColumnProperties, CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import DeltaError

from clnm.errors import StoreError
from clnm.store.manifest import Published, checksum, sync_file, sync_folder
from clnm.store.tables import TABLES

COMPRESSION = "zstd"
ROW_GROUP_ROWS = 4096
"""Of 1,500 columns: all features of a center and one ROI's come fastest, one feature hardly slower (`bench/store.py
layout`), and a reader holds 50 MB at a time. A row group ends with its night: the size counts after a compaction."""
TARGET_FILE_BYTES = 100 * 2**20
"""To which a compaction merges: larger files would be written again and again as nights are added to them."""
_NO_DICTIONARY = ColumnProperties(dictionary_enabled=False)
_TRANSACTION = "clnm"
"""One application name for all commits: Delta keeps the last version of each name for ever."""


def append_rows(root: Path, relation: str, content: pa.Table, before: Published | None, **note: str) -> Published:
    """Append to a table (or begin it) and sync what was written; the manifest does not know of it yet.

    Args:
        root: the store.
        relation: the table.
        content: rows with every column, lineage included.
        before: the table as the manifest knows it; None when it knows of none.
        note: `run_id` and `seq` of the commit, kept in the table's history.

    Raises:
        StoreError: the disk, or a column whose type differs from that of the published rows.
    """
    folder = before.folder if before else f"tables/{relation}"
    try:
        write_deltalake(
            str(root / folder),
            content,
            mode="append",
            partition_by=["center"] if TABLES[relation].has_center else None,
            schema_mode="merge",
            writer_properties=_properties(content.schema),
            commit_properties=CommitProperties(
                app_transactions=[Transaction(_TRANSACTION, int(note["seq"]))], custom_metadata=note
            ),
        )
        after = describe_table(root, folder, before)
        _sync(root, folder, after, before)
    except (DeltaError, OSError, pa.ArrowException) as error:
        raise StoreError(
            f"table {relation} cannot be written ({_why(error)}); the last state is intact, run again when mended"
        ) from error
    return after


def rewrite_rows(root: Path, relation: str, folder: str, batches: pa.RecordBatchReader, **note: str) -> Published:
    """Begin a table anew in `folder`, from `batches`: nothing of its older versions is in it."""
    write_deltalake(
        str(root / folder),
        batches,
        partition_by=["center"] if TABLES[relation].has_center else None,
        writer_properties=_properties(batches.schema),
        commit_properties=CommitProperties(
            app_transactions=[Transaction(_TRANSACTION, int(note["seq"]))], custom_metadata=note
        ),
    )
    after = describe_table(root, folder, None)
    _sync(root, folder, after, None)
    return after


def compact_rows(root: Path, before: Published) -> Published:
    """Merge a table's small files; the old ones stay until `vacuum`."""
    table = DeltaTable(str(root / before.folder))
    table.optimize.compact(
        target_size=TARGET_FILE_BYTES, writer_properties=_properties(pa.schema(table.schema().to_arrow()))
    )
    after = describe_table(root, before.folder, before)
    _sync(root, before.folder, after, before)
    return after


def describe_table(root: Path, folder: str, before: Published | None) -> Published:
    """The table as it stands: its version and its files by schema; known files are not opened again."""
    table = DeltaTable(str(root / folder))
    paths = sorted(live_files(table, folder))
    known = {path: key for key, group in before.files.items() for path in group} if before else {}
    sums = dict(before.checksums) if before else {}
    new = [path for path in paths if path not in known or path not in sums]
    with ThreadPoolExecutor() as pool:
        known |= zip(new, pool.map(lambda path: schema_hash(pq.read_schema(root / path)), new), strict=True)
        sums |= zip(new, pool.map(lambda path: checksum(root / path), new), strict=True)
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(known[path], []).append(path)
    return Published(
        table.version(),
        folder,
        {key: tuple(group) for key, group in groups.items()},
        {path: sums[path] for path in paths},
    )


def live_files(table: DeltaTable, folder: str) -> set[str]:
    """The files of the table's version, relative to the root; none of them is opened."""
    return {f"{folder}/{uri.rsplit(f'/{folder}/', 1)[1]}" for uri in table.file_uris()}


def columns_with_dictionary(schema: pa.Schema) -> list[str]:
    """The columns whose values may well repeat: a dictionary of measured numbers costs time and space for nothing."""
    return [field.name for field in schema if not pa.types.is_floating(field.type)]


def _properties(schema: pa.Schema) -> WriterProperties:
    without = set(schema.names) - set(columns_with_dictionary(schema))
    return WriterProperties(
        compression=COMPRESSION.upper(),
        max_row_group_size=ROW_GROUP_ROWS,
        column_properties=dict.fromkeys(without, _NO_DICTIONARY) or None,
    )


def _sync(root: Path, folder: str, after: Published, before: Published | None) -> None:
    """Make the new files survive a power cut before the manifest names them."""
    old = set(before.all_files()) if before else set()
    new = [root / path for path in after.all_files() if path not in old]
    new.append(root / folder / "_delta_log" / f"{after.version:020d}.json")
    for path in new:
        sync_file(path)
    for parent in _unique(path.parent for path in new):
        sync_folder(parent)


def _unique(folders: Iterable[Path]) -> list[Path]:
    return list(dict.fromkeys(folders))


def schema_hash(schema: pa.Schema) -> str:
    """A short name of a file's columns and types: files of one name are read together."""
    columns = [(field.name, str(field.type)) for field in schema]
    return hashlib.sha256(json.dumps(columns).encode()).hexdigest()[:12]


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first = str(error).splitlines()[0] if str(error) else ""
    return first if "/" not in first and len(first) < 200 else type(error).__name__
