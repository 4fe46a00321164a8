"""Score: every case of a center without a current score is scored, or `unscored` with a reason."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clnm.entities import ScoreStatus
from clnm.pipeline.run import Run
from clnm.pipeline.train import bundle_folder
from clnm.pipeline.tuning import load_network
from clnm.store.tables import rows

if TYPE_CHECKING:
    import pandas as pd

NO_CHAMPION = "no_champion"


def score_center(run: Run, center: str) -> None:
    """Append a score for each case whose inputs, or whose champion, changed since its latest score."""
    store = run.store
    frame = store.case_frame(run.as_of, center=center)
    if frame.empty:
        run.count("score", center, {"cases": 0})
        return
    champion = run.champion()
    version = champion["model_version"] if champion else ""
    clinical = [variable.name for variable in run.installation.settings.variables()]
    frame["input_hash"] = _input_hashes(frame, ["roi_key", *clinical, *store.feature_names(), "embedding"])
    latest = store.run_query("latest_scores", as_of=run.as_of)
    known = {(row["case_key"], row["model_version"], row["input_hash"]) for row in latest}
    is_new = [
        (case, version, inputs) not in known
        for case, inputs in zip(frame["case_key"], frame["input_hash"], strict=True)
    ]
    new = frame[is_new].reset_index(drop=True)
    if not new.empty:
        scores = _scores(run, new, version, champion["sha256"] if champion else "")
        with run.commit() as batch:
            batch.append("scores", rows("scores", scores))
    run.count("score", center, {"cases": len(frame), "new": len(new)})


def _scores(run: Run, frame: pd.DataFrame, version: str, sha256: str) -> list[dict[str, Any]]:
    if version:
        from clnm.models.frame import DL_MARGIN
        from clnm.models.registry import load_bundle

        model = load_bundle(bundle_folder(run.installation.root) / version, sha256=sha256)
        if model.network:
            margins = load_network(run.installation, model.network, frame["roi_key"]).margins(frame)
            frame = frame.assign(**{DL_MARGIN: margins})
        probability, missing, threshold = model.predict(frame), model.missing(frame), model.threshold
    else:
        probability, missing, threshold = np.full(len(frame), np.nan), np.full(len(frame), NO_CHAMPION), None
    return [
        _score(row, float(p), str(reason), version, threshold) | {"scored_at": run.as_of}
        for row, p, reason in zip(frame.to_dict("records"), probability, missing, strict=True)
    ]


def _score(
    row: dict[str, Any], probability: float, reason: str, version: str, threshold: float | None
) -> dict[str, Any]:
    is_scored = not reason
    return {
        "case_key": row["case_key"],
        "patient_key": row["patient_key"],
        "center": row["center"],
        "model_version": version,
        "probability": probability if is_scored else None,
        "prediction": probability >= threshold if is_scored and threshold is not None else None,
        "threshold": threshold,
        "status": (ScoreStatus.SCORED if is_scored else ScoreStatus.UNSCORED).value,
        "reason": reason,
        "input_hash": row["input_hash"],
    }


def _input_hashes(frame: pd.DataFrame, inputs: Sequence[str]) -> list[str]:
    """A short hash per row over everything a model may read."""
    columns = [name for name in inputs if name in frame.columns]
    return [
        hashlib.sha256("|".join(_stable(value) for value in values).encode()).hexdigest()[:16]
        for values in frame[columns].itertuples(index=False, name=None)
    ]


def _stable(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return value.tobytes().hex()
    return repr(value)
