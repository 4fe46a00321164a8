"""The stages and their order: one value, which the command line performs and the flows wrap."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from clnm.errors import UserError
from clnm.pipeline import check, extract, ingest, maintain, monitor, report, score, train
from clnm.pipeline.run import Run, open_run, summarize
from clnm.quality.process import Suites
from clnm.settings import read_settings


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a run. `perform(run, center)`; `center` is None where the stage does not work by center."""

    name: str
    perform: Callable[[Run, str | None], None]
    is_per_center: bool


def _by_center(name: str, function: Callable[[Run, str], None]) -> Stage:
    def perform_center(run: Run, center: str | None) -> None:
        assert center is not None
        function(run, center)

    return Stage(name, perform_center, is_per_center=True)


def _at_once(name: str, function: Callable[[Run], None]) -> Stage:
    return Stage(name, lambda run, _center: function(run), is_per_center=False)


INGEST = _by_center("ingest", ingest.ingest_center)
EXTRACT = _at_once("extract", extract.extract)
CHECK = _at_once("check", check.check)
TRAIN_IF_NONE = _at_once("train", train.train_if_no_champion)
TRAIN = _at_once("train", train.train)
SCORE = _by_center("score", score.score_center)
WATCH = _at_once("monitor", monitor.monitor)
REPORT = _at_once("report", report.report)
TIDY = _at_once("tidy", maintain.tidy)

NIGHTLY: tuple[Stage, ...] = (INGEST, EXTRACT, CHECK, TRAIN_IF_NONE, SCORE, WATCH, REPORT, TIDY)
RETRAIN: tuple[Stage, ...] = (TRAIN, SCORE, REPORT)
MONITOR: tuple[Stage, ...] = (WATCH, REPORT)
SINGLE: dict[str, Stage] = {stage.name: stage for stage in (INGEST, EXTRACT, CHECK, TRAIN, SCORE, WATCH, REPORT)}


def perform(run: Run, stage: Stage, center: str | None = None) -> None:
    """One stage (of one center). What the user has to mend is kept for the end of the run; the rest goes on."""
    began = time.monotonic()
    try:
        stage.perform(run, center)
    except UserError as error:
        run.complain(error)
    finally:
        run.spent_s[stage.name] = run.spent_s.get(stage.name, 0.0) + time.monotonic() - began


def perform_all(run: Run, stages: Iterable[Stage]) -> None:
    """Every stage in order, in this process."""
    for stage in stages:
        for center in run.centers if stage.is_per_center else (None,):
            perform(run, stage, center)


def nightly(config: Path, *, as_of: datetime | None = None, library: Suites | None = None) -> dict[str, Any]:
    """The whole night in this process; for `library` see `open_run`.

    Raises:
        UserError: the gravest thing to mend, after everything that could be done was done.
    """
    with open_run(config, command="nightly", as_of=as_of, library=library) as run:
        perform_all(run, NIGHTLY)
    return summarize(run)


def run_stage(
    config: Path,
    name: str,
    *,
    as_of: datetime | None = None,
    promote: bool = False,
    backfill: extract.Backfill | None = None,
) -> dict[str, Any]:
    """One stage over all centers, as a run of its own."""
    stage = SINGLE[name]
    if promote:
        stage = _at_once("train", lambda run: train.train(run, promote=True))
    if backfill:
        stage = _at_once("extract", lambda run: extract.extract(run, backfill=backfill))
    with open_run(config, command=name, as_of=as_of) as run:
        perform_all(run, (stage,))
    return summarize(run)


def schedules(config: Path) -> dict[str, str]:
    """The cron lines of `[schedule]`, by flow."""
    schedule = read_settings(config).schedule
    return {"nightly": schedule.nightly, "retrain": schedule.retrain}
