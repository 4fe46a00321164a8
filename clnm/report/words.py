"""Numbers as a reader wants them: an estimate with its interval, a p-value, a moment; never a number where none is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

INSUFFICIENT = "insufficient"
_METRIC_NAMES = {
    "auc": "AUC",
    "f1": "F1",
    "npv": "NPV",
    "brier": "Brier score",
    "o_e_ratio": "observed / expected",
    "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration intercept",
}
_ALGORITHM_NAMES = {
    "dl_score": "DL score",
    "knn": "k nearest neighbors",
    "lightgbm": "LightGBM",
    "mlp": "MLP",
    "svm": "SVM",
    "xgboost": "XGBoost",
}


def estimate(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """`0.962 (0.90 to 1.00)`; without bounds `0.962`; without a value `insufficient`."""
    if not is_number(value):
        return INSUFFICIENT
    if not is_number(low) or not is_number(high):
        return f"{value:.3f}"
    return f"{value:.3f} ({low:.2f} to {high:.2f})"


def bounds(low: float | None, high: float | None) -> str:
    """`0.90 to 1.00`; nothing where there are none."""
    return f"{low:.2f} to {high:.2f}" if is_number(low) and is_number(high) else ""


def p_value(value: float | None) -> str:
    """Two digits; below 0.001 as a power of ten."""
    if not is_number(value):
        return INSUFFICIENT
    assert value is not None
    if value < 1e-3:
        return f"{value:.0e}".replace("e-0", "e-") if value > 0 else "below 1e-300"
    return f"{value:.2g}" if value < 0.995 else "1"


def effect(value: float | None) -> str:
    """With its sign."""
    return f"{value:+.2f}" if is_number(value) else "not known"


def count(number: float | None) -> str:
    """With thousands apart."""
    return f"{int(number):,}" if is_number(number) and number is not None else "0"


def counted(number: float, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def moment(at: datetime | None) -> str:
    """To the minute, with its zone."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if at is not None else "not known"


def spoken(code: str) -> str:
    """A code of the store as words: `no_mask` is `no mask`, `auc` is `AUC`."""
    return _METRIC_NAMES.get(code) or _ALGORITHM_NAMES.get(code) or code.replace("_", " ")


def listed(words: Sequence[str], *, at_most: int = 6) -> str:
    """`a, b and c`; beyond `at_most` the rest is counted."""
    shown = list(words[:at_most])
    if len(words) > at_most:
        shown.append(f"{len(words) - at_most} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else "none"


def is_number(value: float | None) -> bool:
    """Whether there is one to show."""
    return value is not None and math.isfinite(value)
