"""Check: the gate judges each center's staged batch; what it holds can be shown, released or dropped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clnm.entities import Severity
from clnm.errors import BatchHeldError, StoreError, UserError, nearest
from clnm.pipeline.dropping import look_again
from clnm.pipeline.installation import open_installation
from clnm.pipeline.run import Run, open_run
from clnm.quality.gate import GateVerdict, judge
from clnm.quality.suites import CheckResult, Suite
from clnm.store import Store
from clnm.store.tables import rows

if TYPE_CHECKING:
    import pandas as pd

_UNJUDGED = {
    "relation": "all",
    "expectation": "not judged yet",
    "observed": "",
    "reason": "the next `clnm check` or nightly judges it",
}


def check_center(run: Run, center: str) -> None:
    """Judge `center`'s staged rows together with its published ones; publish them, or hold them and complain.

    A run that looks back leaves a batch alone that has rows of later.
    """
    store = run.store
    if center not in store.manifest().staged:
        run.count("check", center, {"staged": 0})
        return
    if run.is_past and (later := _staged(run.installation.store, center) - _staged(store, center)):
        run.count("check", center, {"known later": later})
        return
    results = look_at(store, center)
    verdict = judge(results)
    with run.commit() as batch:
        batch.append("check_results", rows("check_results", [asdict(result) for result in results]))
        if verdict is not GateVerdict.HOLD:
            batch.publish(center)
    failed = [result for result in results if not result.is_success]
    run.count("check", center, {"verdict": verdict.value, "expectations": len(results), "findings": len(failed)})
    if verdict is GateVerdict.HOLD:
        critical = [r for r in failed if r.severity is Severity.CRITICAL]
        run.complain(
            BatchHeldError(
                f"center {center}: the gate holds its batch ({critical[0].relation}: {critical[0].expectation}; "
                f"{len(critical)} critical finding(s)); see `clnm check show`, then `clnm check release` or `drop`"
            )
        )


def look_at(store: Store, center: str) -> list[CheckResult]:
    """What the suites say of `center`'s staged rows, table by table."""
    from clnm.quality.suites import run_suite

    return [result for suite, frame in _summaries(store, center) for result in run_suite(suite, frame, center)]


def write_docs(config: Path, directory: Path) -> dict[str, Any]:
    """Great Expectations' Data Docs of all suites and of what is staged now; reads alone, without the lock.

    Raises:
        UserError: the folder is not empty, lies in the store, or cannot be written.
    """
    from clnm.quality.docs import StagedTable, make_folder, render_site, write_site
    from clnm.quality.suites import read_suites

    installation = open_installation(config)
    store = installation.store
    if directory.resolve().is_relative_to(installation.root.resolve()):
        raise UserError("the store keeps its folder to itself; name a folder outside of it")
    make_folder(directory)
    manifest = store.manifest()
    tables = [
        StagedTable(center, suite, frame)
        for center in sorted(manifest.staged)
        for suite, frame in _summaries(store, center)
    ]
    pages = render_site(read_suites(), tables, state=manifest.seq, as_of=datetime.now(UTC))
    write_site(pages, directory)
    return {"index": str(directory / "index.html"), "pages": len(pages), "tables": len(tables)}


def _summaries(store: Store, center: str) -> Iterator[tuple[Suite, pd.DataFrame]]:
    """Each suite whose table has staged rows of `center`, and what it is run over."""
    from clnm.quality.suites import read_suites

    staged = store.manifest().staged.get(center, {})
    for suite in read_suites():
        if suite.name in staged:
            yield suite, _summary(store, suite, center)


def _staged(store: Store, center: str) -> int:
    return sum(row["rows"] for row in store.run_query("staged_rows", center=center))


def _summary(store: Store, suite: Suite, center: str) -> pd.DataFrame:
    more = {"features": store.staged_features(center)} if suite.name == "radiomics" else {}
    frame = store.frame(suite.query, center=center, **more)
    if suite.name == "clinical":  # a variable that is no longer asked for comes empty, and is not missed
        frame = frame[frame["variable"].isin([*store.clinical_variables, "all_rows"])]
    return frame


def held_batches(config: Path) -> list[dict[str, Any]]:
    """Staged batches and the critical findings of their latest check, or that they were not judged yet."""
    store = open_installation(config).store
    findings = store.run_query("latest_critical_findings")
    held = []
    for center in sorted(store.manifest().staged):
        counts: dict[str, int] = {}
        with contextlib.suppress(StoreError):  # a damaged batch is listed, too
            counts = {row["relation"]: row["rows"] for row in store.run_query("staged_rows", center=center)}
        mine = [row for row in findings if row["center"] == center] or [{**_UNJUDGED, "center": center}]
        held += [{**row, "rows": counts.get(row["relation"], sum(counts.values()))} for row in mine]
    return held


def decide(config: Path, center: str, *, release: bool, who: str, why: str) -> dict[str, Any]:
    """Publish or drop what is staged for `center`; who and why are recorded in `check_results`.

    The files of a dropped batch are taken in again by the next ingest: mended by then, or held again.

    Raises:
        UserError: nothing is staged for it.
    """
    with open_run(config, command=f"check {'release' if release else 'drop'}") as run:
        store = run.installation.store
        staged = store.manifest().staged
        if center not in staged:
            raise UserError(f"nothing is held for center {center!r}; {nearest(center, staged)}")
        count = 0
        with contextlib.suppress(StoreError):  # a damaged file can be dropped; it cannot be released
            count = _staged(store, center)
        decision = CheckResult(
            relation="all",
            center=center,
            expectation="released by hand" if release else "dropped by hand",
            severity=Severity.INFO,
            is_success=True,
            observed=f"{count} staged rows",
            reason=f"{who}: {why}",
        )
        with run.commit() as batch:
            batch.append("check_results", rows("check_results", [asdict(decision)]))
            if release:
                batch.publish(center)
            else:
                batch.drop(center)
                again = look_again(run, batch, center)
        return {"center": center, "rows": count} | ({} if release else {"files_looked_at_again": again})
