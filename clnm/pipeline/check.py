"""Check: the gate judges each center's staged batch; what it holds can be shown, released or dropped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clnm.entities import Severity
from clnm.errors import BatchHeldError, StoreError, UserError, nearest
from clnm.pipeline.dropping import look_again
from clnm.pipeline.installation import open_installation
from clnm.pipeline.run import Run, open_run
from clnm.quality import suites
from clnm.quality.gate import GateVerdict, judge
from clnm.quality.process import Suites
from clnm.quality.suites import CheckResult, Suite
from clnm.store import Store
from clnm.store.tables import rows

if TYPE_CHECKING:
    import pandas as pd

_TOGETHER_BYTES = 256_000_000
"""Of staged files, some 20,000 ROIs: less than a night of many hospitals, and a few gigabytes as rows at most."""
_ASKED_AT_A_TIME = 2
_LONGEST = "radiomics"
"""The table whose question takes longest."""
_UNJUDGED = {
    "relation": "all",
    "expectation": "not judged yet",
    "observed": "",
    "reason": "the next `clnm check` or nightly judges it",
}


@dataclass(frozen=True, slots=True)
class Judged:
    """What the gate says of a center's batch."""

    center: str
    results: list[CheckResult]
    verdict: GateVerdict

    @property
    def failed(self) -> list[CheckResult]:
        """The findings."""
        return [result for result in self.results if not result.is_success]


def check(run: Run) -> None:
    """Judge every center's staged rows together with its published ones; publish them, or hold them and complain.

    All of them are judged in one state of the store, and what passes is published together: a reader sees the night's
    rows of every center, or none. Only a night whose rows would fill the memory is published in several steps.
    A run that looks back leaves a batch alone that has rows of later.
    """
    judged = [_judged(run, centers) for centers in _portions(run.installation.store, _to_judge(run))]
    for portion in judged:
        for batch in _commit(run, portion):
            counts = {"expectations": len(batch.results), "findings": len(batch.failed)}
            run.count("check", batch.center, {"verdict": batch.verdict.value, **counts})
            if batch.verdict is GateVerdict.HOLD:
                run.complain(_held(batch))


def _to_judge(run: Run) -> Iterator[str]:
    """The centers with staged rows; a run that looks back leaves alone those with rows of later."""
    staged = run.store.manifest().staged
    for center in run.centers:
        if center not in staged:
            run.count("check", center, {"staged": 0})
        elif run.is_past and (later := _staged(run.installation.store, center) - _staged(run.store, center)):
            run.count("check", center, {"known later": later})
        else:
            yield center


def _portions(store: Store, centers: Iterable[str]) -> Iterator[list[str]]:
    """Centers whose rows are looked at, and then published, at a time: both hold them in memory."""
    portion: list[str] = []
    held_bytes = 0
    for center in centers:
        size = store.staged_bytes(center)
        if portion and held_bytes + size > _TOGETHER_BYTES:
            yield portion
            portion, held_bytes = [], 0
        portion.append(center)
        held_bytes += size
    if portion:
        yield portion


def _judged(run: Run, centers: Sequence[str]) -> list[Judged]:
    """Their batches; where they cannot be read that is a complaint, and they stay staged."""
    try:
        found = look_at(run.store, centers, run.suites)
    except UserError as error:
        run.complain(error)
        return []
    return [Judged(center, results, judge(results)) for center, results in found.items()]


def _commit(run: Run, portion: Sequence[Judged]) -> list[Judged]:
    """Record what was found and publish what passed; says of whom. A damaged batch keeps back itself alone."""
    results = [result for batch in portion for result in batch.results]
    before = run.installation.store.manifest().seq
    try:
        with run.commit() as commit:
            commit.append("check_results", rows("check_results", [asdict(result) for result in results]))
            for batch in portion:
                if batch.verdict is not GateVerdict.HOLD:
                    commit.publish(batch.center)
    except StoreError as error:
        if run.installation.store.manifest().seq != before:  # it was published; what came after it failed
            run.complain(error)
            return list(portion)
        if len(portion) > 1:
            return [batch for alone in portion for batch in _commit(run, [alone])]
        run.complain(StoreError(f"center {portion[0].center}: {error}"))
        return []
    return list(portion)


def _held(batch: Judged) -> BatchHeldError:
    critical = [result for result in batch.failed if result.severity is Severity.CRITICAL]
    return BatchHeldError(
        f"center {batch.center}: the gate holds its batch ({critical[0].relation}: {critical[0].expectation}; "
        f"{len(critical)} critical finding(s)); see `clnm check show`, then `clnm check release` or `drop`"
    )


def look_at(store: Store, centers: Sequence[str], library: Suites = suites) -> dict[str, list[CheckResult]]:
    """What the suites say of some centers' staged rows, table by table.

    Each question is asked once for all of them, two at a time and while the library looks at the answers of others, the
    longest first: to plan one over 1,500 columns takes one core longer than to answer it.
    """
    found: dict[str, dict[str, list[CheckResult]]] = {}
    by_name = {suite.name: suite for suite in suites.read_suites()}
    with ThreadPoolExecutor(_ASKED_AT_A_TIME) as pool:
        names = sorted(by_name, key=lambda name: name != _LONGEST)
        asked = {pool.submit(_summaries, store, by_name[name], centers): name for name in names}
        for summaries in as_completed(asked):
            name = asked[summaries]
            found[name] = library.run_suite(by_name[name], summaries.result())
    return {center: [result for name in by_name for result in found[name].get(center, ())] for center in centers}


def write_docs(config: Path, directory: Path) -> dict[str, Any]:
    """Great Expectations' Data Docs of all suites and of what is staged now; reads alone, without the lock.

    Raises:
        UserError: the folder is not empty, lies in the store, or cannot be written.
    """
    from clnm.quality.docs import StagedTable, make_folder, render_site, write_site

    installation = open_installation(config)
    store = installation.store
    if directory.resolve().is_relative_to(installation.root.resolve()):
        raise UserError("the store keeps its folder to itself; name a folder outside of it")
    make_folder(directory)
    manifest = store.manifest()
    tables = [
        StagedTable(center, suite, frame)
        for suite in suites.read_suites()
        for center, frame in _summaries(store, suite, sorted(manifest.staged)).items()
    ]
    pages = render_site(suites.read_suites(), tables, state=manifest.seq, as_of=datetime.now(UTC))
    write_site(pages, directory)
    return {"index": str(directory / "index.html"), "pages": len(pages), "tables": len(tables)}


def _staged(store: Store, center: str) -> int:
    return sum(row["rows"] for row in store.run_query("staged_rows", center=center))


def _summaries(store: Store, suite: Suite, centers: Sequence[str]) -> dict[str, pd.DataFrame]:
    """What a suite is run over, by center; of those with staged rows of its table."""
    staged = store.manifest().staged
    mine = [center for center in centers if suite.name in staged.get(center, {})]
    if not mine:
        return {}
    more = {}
    if suite.name == "radiomics":
        more["features"] = [f"{center}:{name}" for center in mine for name in store.staged_features(center)]
    frame = store.summary(suite.query, centers=mine, **more)
    if suite.name == "clinical":  # a variable that is no longer asked for comes empty, and is not missed
        frame = frame[frame["variable"].isin([*store.clinical_variables, "all_rows"])]
    parts = dict(iter(frame.groupby("center")))
    return {center: parts[center].drop(columns="center").reset_index(drop=True) for center in mine if center in parts}


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
        UserError: nothing is staged for it; or rows are to be released that came after its last check.
    """
    with open_run(config, command=f"check {'release' if release else 'drop'}") as run:
        store = run.installation.store
        staged = store.manifest().staged
        if center not in staged:
            raise UserError(f"nothing is held for center {center!r}; {nearest(center, staged)}")
        if release and center in run.centers and not _is_judged(store, center):
            raise UserError(
                f"center {center}: some of its rows came after its last check, and nobody has seen what is wrong with "
                "them; run `clnm check`, then `clnm check show`"
            )
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


def _is_judged(store: Store, center: str) -> bool:
    """Whether the latest check looked at all that is staged for a center."""
    checked = store.run_query("last_check", center=center)
    return bool(checked) and checked[0]["commit_seq"] > store.manifest().last_staged(center)
