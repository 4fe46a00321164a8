"""Ingest: one center's archive becomes file states, and staged rows of images, ROIs, clinical values and outcomes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from clnm.archive.intake import CenterArchive, Intake, take_in
from clnm.archive.ledger import Ledger
from clnm.entities import ClinicalRow, FileStatus, as_row
from clnm.errors import QuarantineLimitError, writing
from clnm.imaging import cache
from clnm.pipeline.linking import read_public_half
from clnm.pipeline.run import Run
from clnm.store import Batch
from clnm.store.tables import rows

SETTLE_SECONDS = 60.0
"""A file touched within the last minute may still be being copied: it stays pending until a later look."""

FETCHED_AT_ONCE = 500
"""New instances of DICOMweb servers between two commits."""
DAYS_BETWEEN_WHOLE_LISTS = 7


def ingest_center(run: Run, center: str) -> None:
    """Look at `center`'s archive; commit what changed since the last look in one atomic step.

    What DICOMweb servers hold is fetched and committed some at a time: a run that is killed has lost the last few.
    A run that looks back takes nothing in: what is first seen now was not known then.

    Raises:
        NothingToDoError: the archive is missing, empty, or most of it vanished; or a server is away.
        ConfigurationError: a table or a column that the configuration names is not there.
    """
    if run.is_past:
        run.count("ingest", center, {})
        return
    installation = run.installation
    _make_private(installation.root / "private")
    archive = _look_back(run, installation.center_archive(center))
    try:
        for number in itertools.count():
            intake = _take_in(run, archive, f"{center}-{run.run_id}-{number}")
            away = [source for source, server in archive.servers.items() if server.is_away]
            if intake.is_whole or away:
                break
    finally:
        for server in archive.servers.values():
            server.close()
    _complain_if_too_many(run, center, intake)
    if away:
        raise archive.away(away[0])


def _look_back(run: Run, archive: CenterArchive) -> CenterArchive:
    """The same archive, with servers asked for recent studies alone where all of them were asked for before.

    A server is asked for all of its studies at first, until all of them are fetched, and once a week.
    """
    days = run.installation.lookback_days(archive.name)
    known = _read_ledger(run, archive.name)
    is_due = run.started_at.toordinal() % DAYS_BETWEEN_WHOLE_LISTS == 0
    for source, server in archive.servers.items():
        if days and not is_due and known.is_fetched(source):
            server.since = (run.started_at - timedelta(days=days)).date()
    return archive


def _take_in(run: Run, archive: CenterArchive, name: str) -> Intake:
    """Look, and commit; the pixels wait in a room of this name."""
    room = cache.new_room(run.installation.pixels, name)
    try:
        intake = _look(run, archive, room)
        cache.sync(room)
    except BaseException:
        cache.drop_room(room)  # at once: the disk may be full
        raise
    if intake.rois:
        run.expect_work()
    if intake.is_empty:  # no news; but pixels that were lost may have been read again
        cache.close_room(run.installation.pixels, room)
    else:
        _keep(run, archive.name, intake, name)  # where that fails, who opens the store next knows what became of it
        run.settle_pixels()
    run.count("ingest", archive.name, intake.counts)
    return intake


def _look(run: Run, archive: CenterArchive, room: Path) -> Intake:
    installation = run.installation
    return take_in(
        archive,
        _read_ledger(run, archive.name),
        pseudonyms=installation.pseudonyms(),
        variables=installation.settings.variables(),
        outcome=installation.settings.outcome.name,
        room=room,
        seen_at=run.started_at,
        now_ns=time.time_ns(),
        settle_seconds=SETTLE_SECONDS,
        max_fetched=FETCHED_AT_ONCE,
        link_half=read_public_half(installation.link_file),
        look_at_all=run.lookers().map,
    )


def _keep(run: Run, center: str, intake: Intake, name: str) -> None:
    path = f"private/ledger/{name}.parquet"
    _write_ledger(run.installation.root / path, intake.ledger)
    with run.commit() as batch:
        _stage(batch, center, intake)
        batch.keep(_ledger_name(center), path)


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
    return rows(relation, [as_row(row) for row in content])


def _clinical_table(content: list[ClinicalRow]) -> pa.Table:
    fixed = [{name: value for name, value in as_row(row).items() if name != "values"} for row in content]
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


def _read_ledger(run: Run, center: str) -> Ledger:
    kept = run.installation.store.kept(_ledger_name(center))
    return Ledger.empty() if kept is None else Ledger.read(run.installation.root / kept)


def _make_private(folder: Path) -> None:
    """The folder of paths and pixels, for its owner alone: the mode of `mkdir` is not that of the parents it makes."""
    with writing("the store's private/"):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)


def _write_ledger(path: Path, ledger: Ledger) -> None:
    with writing("a ledger"):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for left_by_a_killed_run in path.parent.glob("*.scratch"):
        left_by_a_killed_run.unlink()
    ledger.write(path)
