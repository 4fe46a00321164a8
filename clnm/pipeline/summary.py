"""What a run did, in a few lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_METRICS = ("auc", "accuracy", "precision", "recall", "f1", "specificity")


def describe(summary: Mapping[str, Any]) -> list[str]:
    """What `summarize` gave, in lines of plain text."""
    return [
        *_stage_lines(summary["stages"]),
        *_score_lines(summary["scores"]),
        *(_model_lines(summary["models"]) if "train" in summary["stages"] or summary["command"] == "nightly" else []),
        *(f"center {row['center']}: {row['verdict']}" for row in summary["health"]),
        f"alerts open: {summary['open_alerts']}",
        f"report: {summary['report']}",
    ]


def _stage_lines(stages: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterable[str]:
    for stage, places in stages.items():
        for place, counts in places.items():
            told = ", ".join(f"{name} {value}" for name, value in counts.items() if value not in (0, None, ""))
            yield f"{stage:<8} {'' if place == 'all' else place:<4} {told or 'nothing new'}"


def _score_lines(scores: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    rows = list(scores)
    cases = sum(row["cases"] for row in rows)
    scored = sum(row["cases"] for row in rows if row["status"] == "scored")
    yield f"{scored} of {cases} cases scored"
    for row in rows:
        if row["status"] != "scored":
            yield f"  {row['status']}: {row['cases']} ({row['reason']})"


def _model_lines(evaluations: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    rows = list(evaluations)
    if not rows:
        return
    yield "external centers (value [95 % CI]); champion *, chosen by cross-validated AUC"
    for algorithm in dict.fromkeys(row["algorithm"] for row in rows):
        mine = {row["metric"]: row for row in rows if row["algorithm"] == algorithm}
        mark = "*" if any(row["is_champion"] for row in mine.values()) else " "
        told = "  ".join(_estimate(metric, mine.get(metric)) for metric in _METRICS)
        n = next(iter(mine.values()))["n"]
        yield f"{mark} {algorithm:<16} n={n:<4} {told}"


def _estimate(metric: str, row: Mapping[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return f"{metric} insufficient"
    if row["ci_low"] is None:
        return f"{metric} {row['value']:.3f}"
    return f"{metric} {row['value']:.3f} [{row['ci_low']:.2f}-{row['ci_high']:.2f}]"
