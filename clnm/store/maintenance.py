"""Upkeep of the tables: verify, compact, vacuum, export, back up and restore."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from clnm.errors import ConfigurationError, StoreError
from clnm.store.delta import COMPRESSION, columns_with_dictionary, compact_rows, live_files, rewrite_rows
from clnm.store.manifest import (
    NAME,
    Manifest,
    Published,
    checksum,
    next_state,
    read_manifest,
    replace_file,
)

MIN_VACUUM_DAYS = 7
"""A long-open session stays on its old file list: files it may still read are kept at least this long."""
_CHECKSUMS = "SHA256SUMS"
Publish = Callable[[Manifest], None]


def history(root: Path) -> list[dict[str, Any]]:
    """The commits that the tables remember, newest first: seq, run_id, committed_at, relations."""
    commits: dict[int, dict[str, Any]] = {}
    for relation, published in read_manifest(root).tables.items():
        for entry in _standing(root, published):
            commit = commits.setdefault(
                int(entry["seq"]), {"seq": int(entry["seq"]), "run_id": entry.get("run_id"), "relations": []}
            )
            commit["committed_at"] = f"{datetime.fromtimestamp(entry['timestamp'] / 1000, tz=UTC):%Y-%m-%d %H:%M:%S}"
            commit["relations"].append(relation)
    return [
        {**commits[seq], "relations": ", ".join(sorted(commits[seq]["relations"]))}
        for seq in sorted(commits, reverse=True)
    ]


def _standing(root: Path, published: Published) -> Iterator[Mapping[str, Any]]:
    """A table's commits that count, newest first: not those that a recovery undid."""
    newest = published.version
    for entry in DeltaTable(str(root / published.folder)).history():
        if entry["version"] > newest:
            continue
        if "undo" in entry:
            newest = int(entry["operationParameters"]["version"])
        elif "seq" in entry:
            yield entry


def verify(root: Path) -> dict[str, Any]:
    """Every file the manifest names is there, as it was written, and readable; each table's log agrees with it.

    Returns:
        Counts of tables, files and rows, and `findings`: one sentence per damage, naming the table and the file.
    """
    manifest = read_manifest(root)
    findings, files, rows = [], 0, 0
    for relation, entry in manifest.tables.items():
        for path in entry.all_files():
            files += 1
            try:
                is_whole = entry.checksums.get(path) in (None, checksum(root / path))
                rows += pq.read_table(root / path, partitioning=None).num_rows if is_whole else 0
            except (OSError, pa.ArrowException):
                is_whole = False
            if not is_whole:
                findings.append(f"table {relation}: {Path(path).name} is missing or damaged")
        findings += _log_findings(root, relation, entry)
    findings += [f"{path} is missing" for path in sorted(manifest.named_files()) if not (root / path).exists()]
    return {"tables": len(manifest.tables), "files": files, "rows": rows, "findings": findings}


def _log_findings(root: Path, relation: str, entry: Published) -> list[str]:
    try:
        is_same = live_files(DeltaTable(str(root / entry.folder)), entry.folder) == set(entry.all_files())
    except (DeltaError, OSError):
        return [f"table {relation}: its Delta log is missing or damaged; its files are still read"]
    return [] if is_same else [f"table {relation}: its Delta log and the manifest disagree; the next run mends it"]


def compact(root: Path, publish: Publish, *, run_id: str, committed_at: str, above: int = 1) -> dict[str, int]:
    """Merge small files table by table; the new versions become visible together. The caller holds the lock.

    Args:
        root: the store.
        publish: the writer's: makes the new state the present one.
        run_id: who asks.
        committed_at: when.
        above: tables that have no more files than this in any center are left as they are.
    """
    before = read_manifest(root)
    scattered = {relation: entry for relation, entry in before.tables.items() if _most_in_a_folder(entry) > above}
    tables = {**before.tables, **{relation: compact_rows(root, entry) for relation, entry in scattered.items()}}
    if scattered:
        publish(next_state(before, run_id=run_id, committed_at=committed_at, tables=tables))
    return {"files_before": _count(before.tables), "files_after": _count(tables)}


def _most_in_a_folder(entry: Published) -> int:
    return max(Counter(Path(path).parent for path in entry.all_files()).values(), default=0)


def vacuum(root: Path, *, days: int) -> int:
    """Delete files that no table has used for `days`; returns how many. Never a file the manifest names."""
    if days < MIN_VACUUM_DAYS:
        raise ConfigurationError(f"vacuum keeps at least {MIN_VACUUM_DAYS} days, not {days}")
    deleted = 0
    for published in read_manifest(root).tables.values():
        table = DeltaTable(str(root / published.folder))
        deleted += len(table.vacuum(retention_hours=days * 24, dry_run=False, full=True))
    return deleted


def erase(
    root: Path,
    wanted: Mapping[str, Mapping[str, Sequence[str]]],
    publish: Publish,
    *,
    run_id: str,
    committed_at: str,
    before_deleting: Callable[[], object] = lambda: None,
) -> int:
    """Delete rows by the values of a column, from published tables, staged files and every older version.

    A table that holds some, or files of older versions that might, is written anew in a folder of its own; a staged
    file, under a new name. Once the manifest names the new ones, the old ones go.

    Args:
        root: the store.
        wanted: relation to column to the values whose rows go.
        publish: the writer's: makes the new state the present one.
        run_id: who asks.
        committed_at: when.
        before_deleting: called when the manifest names the new files and the old ones are still there.

    Returns:
        How many rows were deleted. The caller holds the lock.
    """
    before = read_manifest(root)
    tables, count = dict(before.tables), 0
    for relation, columns in wanted.items():
        if relation in before.tables:
            tables[relation], found = _without_rows(root, relation, before, columns, run_id=run_id)
            count += found
    staged, found = _without_staged(root, before, wanted)
    after = next_state(before, run_id=run_id, committed_at=committed_at, tables=tables, staged=staged)
    publish(after)
    before_deleting()
    for path in before.named_files() - after.named_files():
        (root / path).unlink(missing_ok=True)
    for relation, published in before.tables.items():
        if tables[relation].folder != published.folder:
            shutil.rmtree(root / published.folder)
    return count + found


def _without_rows(
    root: Path, relation: str, before: Manifest, columns: Mapping[str, Sequence[str]], *, run_id: str
) -> tuple[Published, int]:
    """The table without the rows, and how many those were; the same table where nothing of theirs can be in it."""
    entry = before.tables[relation]
    rows = DeltaTable(str(root / entry.folder)).to_pyarrow_dataset()
    found = rows.count_rows(filter=_is_wanted(columns))
    on_disk = sum(1 for _ in (root / entry.folder).rglob("*.parquet"))
    if not found and on_disk == len(entry.all_files()):
        return entry, 0
    kept = rows.scanner(filter=~_is_wanted(columns)).to_reader()
    folder = f"tables/{relation}-{before.seq + 1:08d}"
    return rewrite_rows(root, relation, folder, kept, run_id=run_id, seq=str(before.seq + 1)), found


def _without_staged(
    root: Path, before: Manifest, wanted: Mapping[str, Mapping[str, Sequence[str]]]
) -> tuple[dict[str, dict[str, tuple[str, ...]]], int]:
    """What waits for the gate, without the rows, and how many those were."""
    count, staged = 0, {center: dict(relations) for center, relations in before.staged.items()}
    for relations in staged.values():
        for relation, paths in relations.items():
            renamed = []
            for path in paths:
                table = pq.read_table(root / path, partitioning=None)
                kept = table.filter(~_is_wanted(wanted[relation])) if relation in wanted else table
                if kept.num_rows < table.num_rows:
                    count += table.num_rows - kept.num_rows
                    path = f"{path.removesuffix('.parquet')}-{before.seq + 1:08d}.parquet"  # noqa: PLW2901 - the new name
                    buffer = pa.BufferOutputStream()
                    pq.write_table(
                        kept, buffer, compression=COMPRESSION, use_dictionary=columns_with_dictionary(kept.schema)
                    )
                    replace_file(root / path, buffer.getvalue().to_pybytes())
                renamed.append(path)
            relations[relation] = tuple(renamed)
    return staged, count


def _is_wanted(columns: Mapping[str, Sequence[str]]) -> pc.Expression:
    chosen = pc.scalar(False)
    for column, values in columns.items():
        chosen |= pc.field(column).isin(pa.array(list(values), pa.string()))
    return chosen


def export(tables: Iterator[tuple[str, pa.Table]], directory: Path, file_format: str) -> int:
    """One file per relation; returns how many.

    Raises:
        ConfigurationError: the folder is not empty or cannot be written.
    """
    _demand_empty(directory)
    count = 0
    for name, table in tables:
        if file_format == "csv":
            flat = table.drop_columns([f.name for f in table.schema if pa.types.is_nested(f.type)])
            pa_csv.write_csv(flat, directory / f"{name}.csv")
        else:
            pq.write_table(table, directory / f"{name}.parquet", compression="zstd")
        count += 1
    return count


def backup(root: Path, directory: Path) -> int:
    """Copy the store as the manifest names it, its private part included, with checksums; returns how many files."""
    _demand_empty(directory)
    directory.chmod(0o700)
    lines = []
    for source in _store_files(root):
        target = directory / source.relative_to(root)
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
        StoreError: there is a store already, or the backup is not whole.
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
    for _, name in sorted(pairs, key=lambda pair: pair[1] == NAME):  # the manifest last: until then there is no store
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(directory / name, target)
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


def _count(tables: Mapping[str, Published]) -> int:
    return sum(len(group) for entry in tables.values() for group in entry.files.values())
