"""Draws the page: one HTML file that needs nothing else, opens offline, prints, and is the same for the same inputs."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from clnm.report import words
from clnm.report.inputs import FILE_STATES, ReportInputs, champion_of, records
from clnm.report.plots import draw_calibration, draw_forest, draw_p_values, draw_roc, wilson
from clnm.report.summary import external_auc, held_centers, not_scored, sentences, total

METRICS = ("auc", "accuracy", "precision", "recall", "f1", "specificity")
SIGNATURES = ("radiomics_score", "dl_score")
MIN_FOR_CURVES = 20
"""Fewer labelled cases than this, or fewer than five of a class, and a curve would be read as more than it is."""
MIN_PER_CLASS = 5
N_TOP_FEATURES = 8


def write_report(inputs: ReportInputs, path: Path) -> Path:
    """Write the page to `path` (whole or not at all) and return it. Same inputs, same bytes."""
    content = render(inputs).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.scratch")
    try:
        with scratch.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    return path


def render(inputs: ReportInputs) -> str:
    """The page as text. What comes from frames is escaped; the pictures are ours."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        estimate=words.estimate,
        bounds=words.bounds,
        p=words.p_value,
        effect=words.effect,
        count=words.count,
        moment=words.moment,
    )
    environment.filters["spoken"] = words.spoken
    template = environment.from_string(resources.files("clnm.report").joinpath("page.html").read_text("utf-8"))
    return template.render(
        meta=inputs.meta,
        sentences=list(sentences(inputs)),
        files=_files(inputs),
        quarantine=records(inputs.quarantine_counts),
        not_scored=not_scored(inputs),
        held=held_centers(inputs),
        checks=[row for row in records(inputs.check_results) if not row["is_success"]],
        models=_models(inputs),
        centers=_centers(inputs),
        performance=records(inputs.performance),
        alerts=records(inputs.alerts),
        runs=records(inputs.runs)[:10],
    )


def _files(inputs: ReportInputs) -> dict[str, Any]:
    """The table of states with its sum row, and the equation it stands for."""
    rows = records(inputs.file_counts)
    sums = {name: total(inputs.file_counts, name) for name in ("files", *FILE_STATES)}
    return {"states": FILE_STATES, "rows": rows, "sums": sums}


def _models(inputs: ReportInputs) -> dict[str, Any]:
    champion = champion_of(inputs)
    rows = _model_rows(inputs, champion)
    every = records(inputs.evaluations)
    mine = [row for row in every if champion and row["algorithm"] == champion["algorithm"]]
    by_center = [
        row
        for row in mine
        if champion
        and row["model_version"] == champion["model_version"]
        and (row["cohort"], row["metric"]) == ("external", "auc")
        and row["center"] != "all"
    ]
    return {
        "metrics": METRICS,
        "rows": rows,
        "champion": champion,
        "by_center": by_center,
        "forest": _picture(draw_forest([row["forest"] for row in rows], best_auc=inputs.meta.best_auc_external))
        if rows
        else None,
        **_curves(inputs, champion),
    }


def _model_rows(inputs: ReportInputs, champion: dict[str, Any] | None) -> list[dict[str, Any]]:
    """One row per algorithm, the models by cross-validated AUC, the two signatures after them."""
    in_use = (champion["model_version"], champion["algorithm"]) if champion else None
    auc_cv = _cross_validated(inputs)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in records(inputs.evaluations):
        if (row["cohort"], row["center"]) == ("external", "all"):
            counts = {"n": row["n"], "n_events": row["n_events"]}
            found.setdefault((row["model_version"], row["algorithm"]), counts)[row["metric"]] = row
    rows = []
    for place, measured in found.items():
        auc = measured.get("auc", {})
        forest = {
            "algorithm": place[1],
            "is_champion": place == in_use,
            "auc_cv": auc_cv.get(place),
            **{key: auc.get(key) for key in ("value", "ci_low", "ci_high")},
        }
        rows.append({**measured, "forest": forest})
    return sorted(rows, key=_standing)


def _cross_validated(inputs: ReportInputs) -> dict[tuple[str, str], float | None]:
    """By version and algorithm, as evaluated, else as registered."""
    registered = {(row["model_version"], row["algorithm"]): row["auc_cv"] for row in records(inputs.model_versions)}
    evaluated = {
        (row["model_version"], row["algorithm"]): row["value"]
        for row in records(inputs.evaluations)
        if (row["cohort"], row["center"], row["metric"]) == ("cv", "all", "auc")
    }
    return registered | evaluated


def _standing(row: dict[str, Any]) -> tuple[int, float, str]:
    algorithm = row["forest"]["algorithm"]
    after = SIGNATURES.index(algorithm) + 1 if algorithm in SIGNATURES else 0
    return after, -(row["forest"]["auc_cv"] or 0.0), algorithm


def _curves(inputs: ReportInputs, champion: dict[str, Any] | None) -> dict[str, Any]:
    """ROC, calibration and the counts at the cut-off, from the champion's probabilities on the external centers."""
    labelled = inputs.predictions.dropna(subset=["outcome", "probability"])
    outcome, probability = labelled["outcome"].to_numpy(dtype=bool), labelled["probability"].to_numpy(dtype=float)
    n, n_events = len(outcome), int(outcome.sum())
    told: dict[str, Any] = {"n": n, "n_events": n_events, "roc": None, "calibration": None, "confusion": None}
    if champion is None or n < MIN_FOR_CURVES or min(n_events, n - n_events) < MIN_PER_CLASS:
        return told
    auc = external_auc(inputs, champion["algorithm"], champion["model_version"])
    label = words.estimate(*(auc[key] for key in ("value", "ci_low", "ci_high"))) if auc else "not given"
    threshold = champion["threshold"]
    told["roc"] = _picture(draw_roc(outcome, probability, threshold=threshold, label=label))
    told["calibration"] = _picture(draw_calibration(outcome, probability))
    if threshold is not None:
        told["confusion"] = _confusion(outcome, probability >= threshold)
    return told


def _confusion(outcome: np.ndarray, called: np.ndarray) -> dict[str, Any]:
    tp, fn = int((outcome & called).sum()), int((outcome & ~called).sum())
    fp, tn = int((~outcome & called).sum()), int((~outcome & ~called).sum())
    fractions = {
        "sensitivity (recall)": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "positive predictive value (precision)": (tp, tp + fp),
        "negative predictive value": (tn, tn + fn),
    }
    shown = [
        (name, part, whole, words.estimate(part / whole, *wilson(part, whole)) if whole else words.INSUFFICIENT)
        for name, (part, whole) in fractions.items()
    ]
    return {"tp": tp, "fn": fn, "fp": fp, "tn": tn, "fractions": shown}


def _centers(inputs: ReportInputs) -> dict[str, Any]:
    """Verdicts, the features that speak loudest at each center, and the picture of all p-values."""
    drift = records(inputs.drift)
    rows = []
    p_values: dict[str, tuple[str, np.ndarray]] = {}
    for health in records(inputs.center_health):
        mine = [row for row in drift if row["center"] == health["center"]]
        tested = sorted((row for row in mine if row["p_value"] is not None), key=_loudness)
        rows.append(
            {**health, "top": tested[:N_TOP_FEATURES], "n_untested": len(mine) - len(tested), "window": mine[:1]}
        )
        p_values[health["center"]] = (health["verdict"], np.array([row["p_value"] for row in tested]))
    return {"rows": rows, "picture": _picture(draw_p_values(p_values)) if rows else None}


def _loudness(row: dict[str, Any]) -> tuple[bool, float, float, str]:
    return row["verdict"] != "drift", row["p_value"], -abs(row["effect"] or 0.0), row["feature"]


def _picture(svg: str) -> Any:
    """Our own drawing, not to be escaped: its text comes from words of the store, escaped by the drawing library."""
    from markupsafe import Markup

    return Markup(svg)  # noqa: S704 -- made above, never from a frame's text
