"""What the morning's reader wants first, in sentences: counted, scored, not scored and why, held, moved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from clnm.entities import Verdict
from clnm.report.inputs import FILE_STATES, ReportInputs, champion_of, records
from clnm.report.words import count, counted, estimate, listed, p_value, spoken


def sentences(inputs: ReportInputs) -> Iterator[str]:
    """The summary, one sentence after the other; each number is a sum over the frames."""
    yield _about_files(inputs)
    yield _about_scores(inputs)
    yield _about_model(inputs)
    yield _about_drift(inputs)
    yield from _about_held(inputs)
    alerts = len(inputs.alerts)
    yield f"{counted(alerts, 'alert')} {'is' if alerts == 1 else 'are'} open." if alerts else "No alert is open."


def not_scored(inputs: ReportInputs) -> list[dict[str, Any]]:
    """Center, status, reason, cases of what has no score, most frequent first."""
    rows = [row for row in records(inputs.score_counts) if row["status"] != "scored" and row["cases"]]
    return sorted(rows, key=lambda row: (-row["cases"], row["center"], row["reason"] or ""))


def held_centers(inputs: ReportInputs) -> list[str]:
    """Centers with a failed critical expectation: their batch stays in staging."""
    rows = records(inputs.check_results)
    return sorted({row["center"] for row in rows if row["severity"] == "critical" and not row["is_success"]})


def centers_with(inputs: ReportInputs, verdict: Verdict) -> list[str]:
    """Centers of that verdict."""
    return sorted(row["center"] for row in records(inputs.center_health) if row["verdict"] == verdict.value)


def total(frame: pd.DataFrame, column: str) -> int:
    """Sum of a column of counts."""
    return int(sum(row[column] or 0 for row in records(frame)))


def external_auc(inputs: ReportInputs, algorithm: str, version: str) -> dict[str, Any] | None:
    """The row of `evaluations` with a version's AUC over all external centers."""
    wanted = {
        "algorithm": algorithm,
        "model_version": version,
        "cohort": "external",
        "center": "all",
        "metric": "auc",
    }
    rows = records(inputs.evaluations)
    return next((row for row in rows if all(row[key] == value for key, value in wanted.items())), None)


def _about_files(inputs: ReportInputs) -> str:
    seen = total(inputs.file_counts, "files")
    if not seen:
        return "No file has been seen yet."
    states = [(state, total(inputs.file_counts, state)) for state in FILE_STATES]
    told = listed([f"{count(number)} {state}" for state, number in states if number])
    return f"{counted(seen, 'file')} seen at {counted(len(inputs.file_counts), 'center')}: {told}."


def _about_scores(inputs: ReportInputs) -> str:
    cases = total(inputs.score_counts, "cases")
    if not cases:
        return "No case is there to be scored."
    reasons: dict[str, int] = {}
    for row in not_scored(inputs):
        code = row["reason"] or row["status"]
        reasons[code] = reasons.get(code, 0) + row["cases"]
    scored = cases - sum(reasons.values())
    told = listed([f"{spoken(reason)} ({count(number)})" for reason, number in reasons.items()])
    return f"{count(scored)} of {counted(cases, 'case')} scored" + (f"; not scored: {told}." if reasons else ".")


def _about_model(inputs: ReportInputs) -> str:
    champion = champion_of(inputs)
    if champion is None:
        return "No model is in use yet."
    name = f"The champion is {spoken(champion['algorithm'])} ({champion['model_version']})"
    auc = external_auc(inputs, champion["algorithm"], champion["model_version"])
    if auc is None:
        return f"{name}; it was not judged on external centers."
    told = estimate(auc["value"], auc["ci_low"], auc["ci_high"])
    return (
        f"{name}; AUC on the external centers {told}, {counted(auc['n'], 'case')}, {counted(auc['n_events'], 'event')}."
    )


def _about_drift(inputs: ReportInputs) -> str:
    if inputs.center_health.empty:
        return "No center has been watched yet."
    moved = [
        f"{row['center']} ({count(row['n_features_drifted'])} of {counted(row['n_features_tested'], 'feature')}, "
        f"p = {p_value(row['p_value'])})"
        for row in records(inputs.center_health)
        if row["verdict"] == Verdict.DRIFT.value
    ]
    parts = [f"Drift at {listed(moved)}" if moved else "No center drifts"]
    others = {verdict: centers_with(inputs, verdict) for verdict in (Verdict.STABLE, Verdict.INSUFFICIENT)}
    parts += [f"{verdict.value}: {listed(centers, at_most=12)}" for verdict, centers in others.items() if centers]
    return "; ".join(parts) + "."


def _about_held(inputs: ReportInputs) -> Iterator[str]:
    if held := held_centers(inputs):
        yield f"Held by the quality gate: {listed(held, at_most=12)}; see the checks below and `clnm check show`."
