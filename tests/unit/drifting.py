"""Made-up nights for the monitor: correlated features, four centers, one of which may move."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from clnm.drift.monitor import MonitorResult, watch
from clnm.entities import ClinicalVariable, VariableKind

AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
SIZES = {"C1": 80, "C2": 64, "C3": 38, "C4": 32}
VARIABLES = (
    ClinicalVariable("calcification", VariableKind.FLAG),
    ClinicalVariable("tumor_edge", VariableKind.CATEGORY, levels=("clear", "unclear", "none")),
)


def cases_of_a_night(
    generator: np.random.Generator,
    *,
    n_features: int,
    correlation: float = 0.8,
    shift: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """A third of each center's cases in the current window; `shift` moves 40 % of its features there, in deviations."""
    loadings = generator.normal(size=(4, n_features))
    loadings /= np.linalg.norm(loadings, axis=0)
    parts = []
    for center, n in SIZES.items():
        n_current = n // 3
        common, own = generator.normal(size=(n, 4)) @ loadings, generator.normal(size=(n, n_features))
        values = np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own
        values[:n_current, : int(0.4 * n_features)] += (shift or {}).get(center, 0.0)
        age_days = np.r_[generator.uniform(0.1, 29.9, n_current), generator.uniform(30.1, 394, n - n_current)]
        frame = pd.DataFrame(values, columns=feature_names(n_features))
        frame["case_key"] = [f"{center}-{k}" for k in range(n)]
        frame["center"] = center
        frame["acquired_at"] = [AS_OF - timedelta(days=float(days)) for days in age_days]
        frame["calcification"] = (generator.random(n) < 0.3).tolist()
        frame["tumor_edge"] = generator.choice(["clear", "unclear", "none"], n).tolist()
        parts.append(frame)
    return pd.concat(parts, ignore_index=True)


def feature_names(n_features: int) -> list[str]:
    return [f"original_firstorder_F{k}" for k in range(n_features)]


def look(cases: pd.DataFrame, **changes: Any) -> MonitorResult:
    groups = {name: "radiomics" for name in cases.columns if name.startswith("original_")}
    groups |= {"calcification": "clinical", "tumor_edge": "clinical"}
    asked: dict[str, Any] = {
        "as_of": AS_OF,
        "features": list(groups),
        "groups": groups,
        "variables": VARIABLES,
        "training_cases": [],
        "reference_days": 365,
        "current_days": 30,
        "false_alarm_rate": 0.05,
    }
    return watch(cases, **{**asked, **changes})
