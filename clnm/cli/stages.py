"""The stages, one by one and as the nightly."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from clnm.cli.app import app, options, parse_moment, show
from clnm.errors import DriftAlertError, UserError

AsOf = Annotated[str | None, typer.Option("--as-of", help="Only what was known at this moment (UTC); default: now.")]


class FailOn(StrEnum):
    """What else ends a command with its own exit code."""

    ALERT = "alert"


Fail = Annotated[FailOn | None, typer.Option("--fail-on", help="Exit 16 when a drift alert is open.")]


@app.command()
def ingest(as_of: AsOf = None) -> None:
    """Look at every archive; every file ends in exactly one state. Looking back, nothing is taken in.

    Example: clnm ingest
    """
    _run("ingest", as_of=as_of)


@app.command()
def extract(
    as_of: AsOf = None,
    backfill: Annotated[
        bool, typer.Option(help="Compute again what is there: later rows win, earlier ones stay.")
    ] = False,
    center: Annotated[list[str] | None, typer.Option(help="With --backfill: these centers alone.")] = None,
    since: Annotated[str | None, typer.Option(help="With --backfill: acquired at this moment or later.")] = None,
    until: Annotated[str | None, typer.Option(help="With --backfill: acquired before this moment.")] = None,
) -> None:
    """Radiomics and embeddings of every ROI that has none of the current feature set.

    Example: clnm extract --backfill --center C1 --since 2026-01-01
    """
    from clnm import pipeline

    if not backfill and (center or since or until):
        raise UserError("--center, --since and --until go with --backfill; without it all that is missing is computed")
    again = pipeline.Backfill(tuple(center or ()), parse_moment(since), parse_moment(until)) if backfill else None
    _run("extract", as_of=as_of, backfill=again)


@app.command()
def score(as_of: AsOf = None) -> None:
    """Score every case that has no current score.

    Example: clnm score --as-of 2026-01-31
    """
    _run("score", as_of=as_of)


@app.command()
def train(
    as_of: AsOf = None,
    promote: Annotated[bool, typer.Option(help="Make the best of them champion at once.")] = False,
) -> None:
    """Train the nine models; the best by cross-validated AUC becomes champion where there is none.

    Example: clnm train --as-of 2026-01-31
    """
    _run("train", as_of=as_of, promote=promote)


@app.command()
def monitor(as_of: AsOf = None, fail_on: Fail = None) -> None:
    """Drift and performance per center.

    Example: clnm monitor --fail-on alert
    """
    _run("monitor", as_of=as_of, fail_on=fail_on)


@app.command()
def report(as_of: AsOf = None) -> None:
    """The report page and the morning mail of the last night; looking back, a page of its own.

    Example: clnm report
    """
    _run("report", as_of=as_of)


@app.command()
def nightly(as_of: AsOf = None, fail_on: Fail = None) -> None:
    """Ingest, extract, check, train where there is no champion, score, monitor, report.

    Looking back, nothing is taken in.

    Example: clnm nightly
    """
    from clnm.quality.process import suites_ahead

    with suites_ahead() as library:  # before anything else is imported
        from clnm import pipeline

        _show(pipeline.nightly(options.config, as_of=parse_moment(as_of), library=library), fail_on)


def _run(stage: str, *, as_of: str | None = None, fail_on: FailOn | None = None, **arguments: Any) -> None:
    from clnm import pipeline

    _show(pipeline.run_stage(options.config, stage, as_of=parse_moment(as_of), **arguments), fail_on)


def _show(summary: dict[str, Any], fail_on: FailOn | None) -> None:
    from clnm import pipeline

    if fail_on is FailOn.ALERT and summary.get("open_alerts"):
        alert = DriftAlertError(f'{summary["open_alerts"]} alerts are open; see `clnm sql "FROM alerts"`')
        alert.done = summary
        raise alert
    show(summary, lambda: pipeline.describe(summary))
