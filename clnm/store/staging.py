"""Rows on their way to the gate: checked against their table, and encoded as the file that they will be.

Whoever makes rows can encode them, on a worker, too; a commit writes bytes, and reads them when they are published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clnm.errors import StoreError
from clnm.store.delta import columns_with_dictionary, schema_hash
from clnm.store.manifest import Manifest, checksum, replace_file
from clnm.store.tables import TABLES, Table, rows

_COMPRESSION = "lz4"
"""Staged rows are soon published or dropped: half the time of zstd, and hardly larger."""

_DAMAGED = (
    "staged {relation}: {name} is missing or damaged; `clnm check drop` lets the batch go, and the next night takes "
    "its files in again"
)


@dataclass(frozen=True, slots=True)
class StagedRows:
    """Rows of a gated relation and a center, as a Parquet file that nobody has written yet."""

    relation: str
    center: str
    columns: str
    """Hash of their names and types: files of one folder have the same."""
    content: bytes = field(repr=False)

    def path(self, name: str) -> str:
        """Where it will lie, relative to the store."""
        return f"staging/{self.relation}/{self.center}/{self.columns}/{name}.parquet"

    def write(self, path: Path) -> None:
        """All of it or nothing.

        Raises:
            StoreError: the disk is full or cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, self.content)


def encode_rows(
    relation: str, center: str, content: Sequence[Mapping[str, Any]], features: Sequence[str] = ()
) -> StagedRows:
    """Rows as dictionaries: the table's columns, and those of some features.

    Raises:
        ValueError: as `encode_table`.
    """
    more = [pa.field(name, pa.float64()) for name in features]
    return encode_table(relation, center, rows(relation, content, more=more))


def encode_table(
    relation: str, center: str, table: pa.Table, clinical_types: Mapping[str, pa.DataType] | None = None
) -> StagedRows:
    """Rows of a center as an Arrow table.

    Raises:
        ValueError: the relation is not gated, or a column is missing, unknown, or not of its type, or another center's.
    """
    if not TABLES[relation].is_gated:
        raise ValueError(f"{relation} is not gated")
    checked = checked_rows(TABLES[relation], table, clinical_types or {})
    if set(checked.column("center").unique().to_pylist()) - {center}:
        raise ValueError(f"{relation}: rows of another center than {center!r}")
    return as_file(relation, center, checked)


def as_file(relation: str, center: str, checked: pa.Table) -> StagedRows:
    """Rows that were checked, as the file they will be."""
    sink = pa.BufferOutputStream()
    pq.write_table(checked, sink, compression=_COMPRESSION, use_dictionary=columns_with_dictionary(checked.schema))
    return StagedRows(relation, center, schema_hash(checked.schema), sink.getvalue().to_pybytes())


def checked_rows(table: Table, content: pa.Table, clinical_types: Mapping[str, pa.DataType]) -> pa.Table:
    """`content` with the table's columns in order and of their types; more columns only where the table is open."""
    names = [column.name for column in table.columns]
    extra = [name for name in content.column_names if name not in set(names)]
    types = clinical_types if table.name == "clinical" else dict.fromkeys(extra, pa.float64())
    missing = [name for name in names if name not in content.column_names]
    unknown = [name for name in extra if not table.is_open or name not in types]
    if missing or unknown:
        raise ValueError(f"{table.name}: missing columns {missing}, unknown columns {unknown}")
    fields = [pa.field(column.name, column.type) for column in table.columns]
    fields += [pa.field(name, types[name]) for name in extra]
    chosen, schema = content.select([*names, *extra]), pa.schema(fields)
    return chosen if chosen.schema.equals(schema) else chosen.cast(schema)


def demand_whole(root: Path, manifest: Manifest) -> None:
    """Read every staged file against its checksum.

    Raises:
        StoreError: some are missing or damaged; the sentence names their centers.
    """
    damaged = [
        center
        for center in sorted(manifest.staged)
        for path in (path for paths in manifest.staged[center].values() for path in paths)
        if not (root / path).is_file() or manifest.checksums.get(path) not in (None, checksum(root / path))
    ]
    if centers := list(dict.fromkeys(damaged)):
        raise StoreError(
            f"what waits for the gate of center {', '.join(centers)} is missing or damaged; `clnm check drop "
            f"{centers[0]}` lets the batch go, and the next night takes its files in again"
        )


def staged_features(root: Path, paths: Sequence[str]) -> list[str]:
    """The features among the columns of some staged files.

    Raises:
        StoreError: one is missing or damaged.
    """
    fixed = {column.name for column in TABLES["radiomics"].columns}
    try:
        names = [name for path in paths for name in pq.read_schema(root / path).names]
    except (OSError, pa.ArrowException) as error:
        raise StoreError(_DAMAGED.format(relation="radiomics", name="a file")) from error
    return [name for name in dict.fromkeys(names) if name not in fixed]


def read_staged(root: Path, relation: str, paths: Sequence[str]) -> pa.Table:
    """The rows of some staged files, one after the other.

    Raises:
        StoreError: one is missing or damaged.
    """

    def read(path: str) -> pa.Table:
        try:
            return pq.read_table(root / path, partitioning=None, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise StoreError(_DAMAGED.format(relation=relation, name=Path(path).name)) from error

    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(read, paths))
    return pa.concat_tables(parts, promote_options="permissive")
