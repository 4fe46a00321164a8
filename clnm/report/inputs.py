"""What the page and the mail are made of: plain frames, checked for their columns and for counts that add up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from clnm.entities import FileStatus
from clnm.errors import StoreError

FILE_STATES = tuple(status.value for status in FileStatus)
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "file_counts": ("center", "files", *FILE_STATES),
    "quarantine_counts": ("center", "kind", "reason", "items"),
    "score_counts": ("center", "status", "reason", "cases"),
    "model_versions": ("model_version", "algorithm", "status", "n_train", "n_events", "auc_cv", "threshold"),
    "evaluations": (
        *("model_version", "algorithm", "cohort", "center", "metric"),
        *("value", "ci_low", "ci_high", "n", "n_events"),
    ),
    "predictions": ("center", "outcome", "probability"),
    "center_health": (
        *("center", "verdict", "p_value", "n_features_tested", "n_features_drifted"),
        *("n_new_cases", "n_quarantined"),
    ),
    "drift": (
        *("center", "feature", "feature_group", "window_start", "window_end", "reference", "n_reference", "n_current"),
        *("statistic", "p_value", "q_value", "effect", "verdict"),
    ),
    "performance": ("center", "metric", "value", "ci_low", "ci_high", "n", "n_events", "kind", "verdict"),
    "alerts": ("center", "kind", "severity", "message", "first_raised_at", "last_raised_at"),
    "check_results": ("center", "relation", "expectation", "severity", "is_success", "observed", "reason"),
    "runs": ("run_id", "command", "started_at", "finished_at", "status"),
}
"""The columns each frame needs; more are welcome. A frame without rows needs none."""


@dataclass(frozen=True, slots=True)
class ReportMeta:
    """Where the page comes from, and what it must say of itself."""

    run_id: str
    code_version: str
    config_hash: str
    as_of: datetime
    outcome: str
    is_simulated: bool = False
    best_auc_external: float | None = None
    """The best AUC anyone could reach; known of simulated cases alone."""
    problems: tuple[str, ...] = ()
    """What the run could not do, and what somebody has to mend."""

    def __post_init__(self) -> None:
        if self.as_of.utcoffset() != timedelta(0):
            raise ValueError("as_of is UTC and aware")


@dataclass(frozen=True, slots=True)
class ReportInputs:
    """Plain frames, columns as in `COLUMNS`; one that is left out is empty.

    Raises `ValueError` where a column is missing and `StoreError` where the counts do not add up.
    """

    meta: ReportMeta
    file_counts: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Per center: files ever seen, and how many are in each state now."""
    quarantine_counts: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Items open in quarantine."""
    score_counts: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Cases of the worklist by status and reason."""
    model_versions: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Versions as they are now; the champion among them."""
    evaluations: pd.DataFrame = field(default_factory=pd.DataFrame)
    predictions: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Labelled cases of the external centers with the champion's probability."""
    center_health: pd.DataFrame = field(default_factory=pd.DataFrame)
    drift: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Of the latest monitoring run, as `center_health` and `performance`."""
    performance: pd.DataFrame = field(default_factory=pd.DataFrame)
    alerts: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The open ones."""
    check_results: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Of the latest run that checked."""
    runs: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The latest ones, newest first."""

    def __post_init__(self) -> None:
        for name, columns in COLUMNS.items():
            frame = getattr(self, name)
            missing = [column for column in columns if column not in frame.columns]
            if len(frame) and missing:
                raise ValueError(f"report frame {name} lacks {', '.join(missing)}")
            if missing:
                object.__setattr__(self, name, frame.reindex(columns=[*frame.columns, *missing]))
        check_file_counts(self.file_counts)


def check_file_counts(file_counts: pd.DataFrame) -> None:
    """Files seen = ingested + duplicate + ignored + quarantined + pending + gone, at every center.

    Raises:
        StoreError: they are not, at the center named.
    """
    for row in records(file_counts):
        told = sum(int(row[state] or 0) for state in FILE_STATES)
        if told != row["files"]:
            raise StoreError(
                f"center {row['center']}: {row['files']} files seen but {told} in a state; run `clnm store verify`"
            )


def champion_of(inputs: ReportInputs) -> dict[str, Any] | None:
    """The row of `model_versions` in use, if there is one."""
    return next((row for row in records(inputs.model_versions) if row["status"] == "champion"), None)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as dictionaries in which what is missing is None."""
    present = frame.astype(object).where(frame.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in present.to_dict("records")]
