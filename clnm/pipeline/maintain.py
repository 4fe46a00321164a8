"""Maintain: the store's history and health, its catalogue, backups; who a patient is, and forgetting one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clnm.archive.ledger import Ledger
from clnm.errors import LockedError, StoreError
from clnm.pipeline.installation import Installation, open_installation
from clnm.pipeline.run import Run, open_run
from clnm.store import copies, maintenance

_SCATTERED = 32
"""Files of a table and center: a question opens each of them, and a night adds one."""
_LOOKS = 3
"""At a store that is written meanwhile: a file that a commit let go is no damage."""
_KEPT_DAYS = 30
"""What was replaced stays so long: open sessions and copies on their way still read it."""


def history(config: Path) -> list[dict[str, Any]]:
    """The published commits, newest first."""
    return maintenance.history(open_installation(config).root)


def verify(config: Path) -> dict[str, Any]:
    """What is damaged, if anything: files, then what rows and ledgers promise each other."""
    installation = open_installation(config)
    _demand_store(installation.root)
    for _ in range(_LOOKS):
        seq = installation.store.manifest().seq
        told = maintenance.verify(installation.root)
        if not told["findings"]:  # what cannot be read cannot be asked
            told["findings"] = [*_broken_promises(installation), *_ledger_findings(installation)]
        if not told["findings"] or installation.store.manifest().seq == seq:
            return told
    raise LockedError("a run writes to the store, and what it replaces looks like damage; verify again when it is done")


def _broken_promises(installation: Installation) -> Iterator[str]:
    for row in installation.store.run_query("broken_promises"):
        yield f"{row['n']} {row['finding']}"


def _ledger_findings(installation: Installation) -> Iterator[str]:
    """Where the relation `files` and a center's ledger count differently."""
    counted = {row["center"]: row for row in installation.store.run_query("status_by_center")}
    for center in installation.centers:
        kept = installation.store.kept(f"ledger/{center}")
        if kept is None or not (installation.root / "private").exists():
            continue  # another machine keeps the private part of a store in a bucket
        try:
            counts = Ledger.read(installation.root / kept).counts()
        except StoreError as error:
            yield f"center {center}: {error}"
            continue
        for status, count in counts.items():
            published = counted.get(center, {}).get(status) or 0
            if count != published:
                yield f"center {center}: {count} files are {status} in the ledger, {published} in the relation files"


def rebuild_catalog(config: Path) -> dict[str, Any]:
    """Write `catalog.duckdb` anew."""
    installation = open_installation(config)
    _demand_store(installation.root)
    return {"catalog": str(installation.root / "catalog.duckdb"), "relations": installation.store.rebuild_catalog()}


def compact(config: Path) -> dict[str, int]:
    """Merge small files."""
    with open_run(config, command="store compact") as run:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return maintenance.compact(run.installation.root, run.writer.publish, run_id=run.run_id, committed_at=now)


def tidy(run: Run) -> None:
    """Keep the number of files flat over the years: merge small ones where they are many, delete long unused ones.

    Raises:
        StoreError: the disk is full or unwritable, or a table is damaged.
    """
    root, now = run.installation.root, datetime.now(UTC).isoformat(timespec="seconds")
    counts = maintenance.compact(root, run.writer.publish, run_id=run.run_id, committed_at=now, above=_SCATTERED)
    if counts["files_after"] < counts["files_before"]:
        run.count("tidy", None, {**counts, "deleted": maintenance.vacuum(root, days=_KEPT_DAYS)})


def vacuum(config: Path, days: int) -> dict[str, int]:
    """Delete what no table has used for `days`."""
    with open_run(config, command="store vacuum") as run:
        return {"deleted": maintenance.vacuum(run.installation.root, days=days)}


def export(config: Path, directory: Path, file_format: str) -> dict[str, int]:
    """One file per relation, the data dictionary among them."""
    store = open_installation(config).store

    return {"relations": copies.export(store.readers(), directory, file_format)}


def backup(config: Path, directory: Path) -> dict[str, int]:
    """Copy the store while no run writes."""
    with open_run(config, command="store backup") as run:
        return {"files": copies.backup(run.installation.root, directory)}


def restore(config: Path, directory: Path) -> dict[str, int]:
    """Put a backup in the place of a store that is not there, and rebuild its catalogue."""
    installation = open_installation(config)
    count = copies.restore(installation.root, directory)
    installation.store.push_restored()
    installation.store.rebuild_catalog()
    return {"files": count}


def forget(config: Path, patient_key: str) -> dict[str, Any]:
    """Remove a patient's rows, their older versions and cached pixels; list the model versions trained on them."""
    from clnm.pipeline.forget import forget_patient

    return forget_patient(config, patient_key)


def _demand_store(root: Path) -> None:
    if not (root / "manifest.json").exists():
        raise StoreError("there is no store yet; `clnm nightly` makes it")
