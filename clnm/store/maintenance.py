"""Upkeep of the tables: history, verify, compact, vacuum, and erasing rows for good."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from clnm.errors import ConfigurationError
from clnm.store.damage import working_on
from clnm.store.delta import COMPRESSION, columns_with_dictionary, compact_rows, live_files, rewrite_rows
from clnm.store.manifest import Manifest, Published, checksum, checksums_of, next_state, read_manifest, replace_file

MIN_VACUUM_DAYS = 7
"""A long-open session stays on its old file list: files it may still read are kept at least this long."""
_OF_ROWS = ("tables", "staging")
Publish = Callable[[Manifest], None]


def history(root: Path) -> list[dict[str, Any]]:
    """The commits that the tables remember, newest first: seq, run_id, committed_at, relations."""
    commits: dict[int, dict[str, Any]] = {}
    for relation, published in read_manifest(root).tables.items():
        with working_on(relation):
            standing = list(_standing(root, published))
        for entry in standing:
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
        Counts of tables, files and rows; `unused` files, of earlier states or of a run that was killed, which the next
        run or `vacuum` deletes; and `findings`: one sentence per damage, naming the table and the file.
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
    for path in sorted(manifest.named_files()):
        if not (root / path).exists():
            findings.append(f"{path} is missing")
        elif manifest.checksums.get(path) not in (None, checksum(root / path)):
            findings.append(f"{path} is damaged")
    known = {path for entry in manifest.tables.values() for path in entry.all_files()} | manifest.named_files()
    there = {str(path.relative_to(root)) for place in _OF_ROWS for path in (root / place).rglob("*.parquet")}
    counts = {"tables": len(manifest.tables), "files": files, "rows": rows}
    return {**counts, "unused": len(there - known - _empty_files(root)), "findings": findings}


def _empty_files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in (root / "tables" / "empty").glob("*.parquet")}


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
    tables = dict(before.tables)
    for relation, entry in scattered.items():
        with working_on(relation):
            tables[relation] = compact_rows(root, entry)
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
    for relation, published in read_manifest(root).tables.items():
        with working_on(relation):
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
            with working_on(relation):
                tables[relation], found = _without_rows(root, relation, before, columns, run_id=run_id)
            count += found
    staged, found = _without_staged(root, before, wanted)
    after = next_state(before, run_id=run_id, committed_at=committed_at, tables=tables, staged=staged)
    publish(replace(after, checksums=checksums_of(root, before, after)))
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
                with working_on(f"{relation} (staged)"):
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


def _count(tables: Mapping[str, Published]) -> int:
    return sum(len(group) for entry in tables.values() for group in entry.files.values())
