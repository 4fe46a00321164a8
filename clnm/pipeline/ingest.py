"""Ingest: one center's archive becomes file states, and staged rows of images, ROIs, clinical values and outcomes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from clnm.archive.intake import Intake, take_in
from clnm.archive.ledger import Ledger
from clnm.entities import ClinicalRow, FileStatus
from clnm.errors import QuarantineLimitError
from clnm.pipeline.run import Run, rows
from clnm.store import Batch

SETTLE_SECONDS = 60.0
"""A file touched within the last minute may still be being copied: it stays pending until a later look."""


def ingest_center(run: Run, center: str) -> None:
    """Look at `center`'s archive; commit what changed since the last look in one atomic step.

    Raises:
        NothingToDoError: the archive is missing, empty, or most of it vanished.
        ConfigurationError: a table or a column that the configuration names is not there.
    """
    installation = run.installation
    _make_private(installation.root / "private")
    known = _read_ledger(run, center)
    with ThreadPoolExecutor(installation.workers) as pool:
        intake = take_in(
            installation.center_archive(center),
            known,
            pseudonyms=installation.pseudonyms(),
            variables=installation.settings.variables(),
            outcome=installation.settings.outcome.name,
            pixels=installation.pixels,
            seen_at=run.started_at,
            now_ns=time.time_ns(),
            settle_seconds=SETTLE_SECONDS,
            map_files=pool.map,
        )
    if intake.is_empty:
        run.count("ingest", center, intake.counts)
        return
    _write_ledger(run, center, intake.ledger)
    with run.commit() as batch:
        _stage(batch, center, intake)
        batch.keep(_ledger_name(center), _ledger_path(run, center))
    run.count("ingest", center, intake.counts)
    _complain_if_too_many(run, center, intake)


def _stage(batch: Batch, center: str, intake: Intake) -> None:
    gated: dict[str, Sequence[Any]] = {"images": intake.images, "rois": intake.rois, "outcomes": intake.outcomes}
    for relation, content in gated.items():
        if content:
            batch.stage(relation, center, _table(relation, content))
    if intake.clinical:
        batch.stage("clinical", center, _clinical_table(intake.clinical))
    ungated: dict[str, Sequence[Any]] = {"files": intake.files, "quarantine": intake.set_aside}
    for relation, found in ungated.items():
        if found:
            batch.append(relation, _table(relation, found))


def _table(relation: str, content: Sequence[Any]) -> pa.Table:
    return rows(relation, [asdict(row) for row in content])


def _clinical_table(content: list[ClinicalRow]) -> pa.Table:
    fixed = [{name: value for name, value in asdict(row).items() if name != "values"} for row in content]
    table = rows("clinical", fixed)
    for name in content[0].values:
        table = table.append_column(name, pa.array([row.values[name] for row in content]))
    return table


def _complain_if_too_many(run: Run, center: str, intake: Intake) -> None:
    counts: dict[str, Any] = dict(intake.counts)
    quarantined = int(counts.get(FileStatus.QUARANTINED.value, 0))
    seen = sum(int(counts.get(status.value, 0)) for status in FileStatus)
    limit = run.installation.settings.quality.max_quarantined_fraction
    if seen and quarantined / seen > limit:
        run.complain(
            QuarantineLimitError(
                f"center {center}: {quarantined} of {seen} files are quarantined, more than {limit:.0%}; "
                "see `clnm quarantine list`"
            )
        )


def _ledger_name(center: str) -> str:
    return f"ledger/{center}"


def _ledger_path(run: Run, center: str) -> str:
    return f"private/ledger/{center}-{run.run_id}.parquet"


def _read_ledger(run: Run, center: str) -> Ledger:
    kept = run.installation.store.kept(_ledger_name(center))
    return Ledger.empty() if kept is None else Ledger.read(run.installation.root / kept)


def _make_private(folder: Path) -> None:
    """The folder of paths and pixels, for its owner alone: the mode of `mkdir` is not that of the parents it makes."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)


def _write_ledger(run: Run, center: str, ledger: Ledger) -> None:
    path = run.installation.root / _ledger_path(run, center)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for left_by_a_killed_run in path.parent.glob("*.scratch"):
        left_by_a_killed_run.unlink()
    ledger.write(path)
