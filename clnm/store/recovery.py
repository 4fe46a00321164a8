"""Undoes what a killed run left: tables that ran ahead of the manifest go back to it, unnamed files are swept."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import DeltaError

from clnm.errors import StoreError
from clnm.store.delta import live_files
from clnm.store.manifest import NAME, Manifest, Published, read_manifest, write_manifest

EMPTY = "empty"
"""The folder in `tables/` that holds a file without rows for every relation."""
_LEDGERS = "private/ledger"


def recover(root: Path, run_id: str) -> Manifest:
    """Bring the folder back to what the manifest names, and return the manifest. The caller holds the lock.

    Raises:
        StoreError: the manifest is gone while tables are there, or a table is damaged.
    """
    if not (root / NAME).exists():
        if any(root.glob("tables/*/_delta_log")):
            raise StoreError("manifest.json of the store is gone though its tables are there; restore it from a backup")
        write_manifest(root, Manifest())
    manifest = read_manifest(root)
    _sweep_tables(root, manifest)
    for relation, published in manifest.tables.items():
        try:
            _undo(root, published, run_id)
        except (DeltaError, OSError) as error:
            raise StoreError(
                f"table {relation} is damaged ({type(error).__name__}); `clnm store verify` says what is missing, "
                "`clnm store restore` brings a backup back"
            ) from error
    _sweep_files(root, manifest)
    sweep_ledgers(root, manifest, run_id)
    return manifest


def sweep_ledgers(root: Path, manifest: Manifest, run_id: str) -> None:
    """Delete the ledgers that the state no longer names, and what lies beside them: they hold keys and sealed ids.

    Those of the present run stay: they may be written and not named yet.
    """
    named = set(manifest.kept.values())
    for path in (root / _LEDGERS).glob("*"):
        name = path.name.removesuffix(".scratch").removesuffix(".parquet").removesuffix(".rows")
        if run_id not in name and f"{_LEDGERS}/{name}.parquet" not in named:
            path.unlink(missing_ok=True)


def _undo(root: Path, published: Published, run_id: str) -> None:
    table = DeltaTable(str(root / published.folder))
    if table.version() < published.version:
        raise OSError("its log is older than the manifest")
    has_run_ahead = table.version() > published.version
    if has_run_ahead and live_files(table, published.folder) != set(published.all_files()):
        note = CommitProperties(custom_metadata={"run_id": run_id, "undo": "unfinished commit"})
        table.restore(published.version, commit_properties=note)


def _sweep_tables(root: Path, manifest: Manifest) -> None:
    named = {entry.folder for entry in manifest.tables.values()} | {f"tables/{EMPTY}"}
    for folder in root.glob("tables/*"):
        if f"tables/{folder.name}" not in named:
            shutil.rmtree(folder)


def _sweep_files(root: Path, manifest: Manifest) -> None:
    named = manifest.named_files()
    for path in root.glob("staging/**/*"):
        if path.is_file() and str(path.relative_to(root)) not in named:
            path.unlink()
    for scratch in root.glob("*.scratch"):
        if not _is_of_a_living_process(scratch):
            scratch.unlink(missing_ok=True)


def _is_of_a_living_process(scratch: Path) -> bool:
    """Scratch names end in `.<pid>.scratch`: a catalogue may be being built without the lock just now."""
    number = scratch.name.removesuffix(".scratch").rpartition(".")[2]
    if not number.isdecimal() or int(number) == os.getpid():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
