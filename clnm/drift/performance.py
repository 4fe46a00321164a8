"""Judges the champion where pathology has answered: is it still as good, and does it still count right?

Only cases it was not trained on speak. Below a stated n the answer is `insufficient`, without a number.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pandas as pd

from clnm.drift.statistics import holm
from clnm.entities import Verdict

MIN_LABELLED = 70
"""At 70 labelled cases a fall of the AUC from 0.96 to 0.85 is seen nine times in ten; at 35 two times in three."""
MIN_EVENTS = 10
"""Of either class. The variance of the AUC is driven by the rarer one."""
Z95 = 1.959963984540054
ALL = "all"


@dataclass(frozen=True, slots=True)
class PerformanceRow:
    """One row of `performance`."""

    center: str
    window_start: datetime | None
    window_end: datetime
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    n_events: int
    kind: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Expected:
    """The champion's cross-validated AUC and the classes it was measured on: what it promised."""

    auc: float
    n_events: int
    n_others: int


@dataclass(frozen=True, slots=True)
class Measured:
    """A measure with its 95 % bounds, and the p-value of "as promised" (None: nothing was promised)."""

    value: float
    low: float
    high: float
    p_value: float | None


def realized(
    cases: pd.DataFrame,
    *,
    outcome: str,
    as_of: datetime,
    training_cases: Collection[str],
    expected: Expected | None,
    false_alarm_rate: float = 0.05,
    window_start: datetime | None = None,
) -> tuple[PerformanceRow, ...]:
    """AUC, Brier score and observed-to-expected ratio of the scores in use, per center and over all.

    `cases`: `case_key, center, acquired_at, probability` and the outcome column. Verdicts are Holm-adjusted over
    everything judged in the night. The AUC is `drift` where it lies below `expected` (one-sided); without `expected`
    it cannot be judged and is `insufficient`. Brier score (Spiegelhalter 1986) and O:E are `drift` where the
    probabilities, taken at their word, make what was observed too unlikely.
    """
    known = cases[cases[outcome].notna() & cases["probability"].notna() & ~cases["case_key"].isin(list(training_cases))]
    if window_start is not None:
        known = known[known["acquired_at"] > window_start]
    rows: list[PerformanceRow] = []
    p_values: list[float | None] = []
    for center in (*sorted(set(cases["center"])), ALL):
        mine = known if center == ALL else known[known["center"] == center]
        label, probability = mine[outcome].to_numpy(dtype=bool), mine["probability"].to_numpy(dtype=float)
        for metric, measured in _measure(label, probability, expected).items():
            p_values.append(None if measured is None else measured.p_value)
            rows.append(_row(center, metric, measured, label, (window_start, as_of)))
    return _judge(rows, p_values, false_alarm_rate)


def measure_auc(label: np.ndarray, probability: np.ndarray, expected: Expected | None) -> Measured:
    """AUC with DeLong's interval (1988), and how unlikely so low a value is if the model is what it was.

    Both AUCs are estimates: their variances (the promised one's after Hanley & McNeil 1982) add up.
    """
    from scipy.stats import norm, rankdata

    n_events, n_others = int(label.sum()), int((~label).sum())
    ranks = rankdata(probability)
    of_events = (ranks[label] - rankdata(probability[label])) / n_others
    of_others = 1 - (ranks[~label] - rankdata(probability[~label])) / n_events
    value = float(of_events.mean())
    variance = float(of_events.var(ddof=1) / n_events + of_others.var(ddof=1) / n_others)
    if variance == 0:  # every event above every other: DeLong's formula says nothing
        variance = hanley_mcneil_variance(min(value, 1 - 0.5 / (n_events + n_others)), n_events, n_others)
    half = Z95 * float(np.sqrt(variance))
    p_value = None
    if expected is not None:
        promised = hanley_mcneil_variance(expected.auc, expected.n_events, expected.n_others)
        p_value = float(norm.cdf((value - expected.auc) / np.sqrt(variance + promised)))
    return Measured(value, max(0.0, value - half), min(1.0, value + half), p_value)


def measure_brier(label: np.ndarray, probability: np.ndarray) -> Measured:
    """Mean squared error of the probabilities, and Spiegelhalter's test of it (1986, doi:10.1002/sim.4780050506)."""
    squares = (probability - label) ** 2
    half = Z95 * float(squares.std(ddof=1) / np.sqrt(len(squares)))
    excess = float(((label - probability) * (1 - 2 * probability)).sum())
    variance = float(((1 - 2 * probability) ** 2 * probability * (1 - probability)).sum())
    value = float(squares.mean())
    return Measured(value, max(0.0, value - half), min(1.0, value + half), _two_sided(excess, variance))


def measure_observed_to_expected(label: np.ndarray, probability: np.ndarray) -> Measured:
    """Events over the sum of probabilities, its log-normal interval (Debray 2017, doi:10.1136/bmj.i6460), and a test.

    Taken at their word, the probabilities give the number of events the variance sum p (1 - p).
    """
    observed, promised = float(label.sum()), max(float(probability.sum()), 1e-9)
    factor = float(np.exp(Z95 * np.sqrt((1 - label.mean()) / observed)))
    p_value = _two_sided(observed - promised, float((probability * (1 - probability)).sum()))
    ratio = observed / promised
    return Measured(ratio, ratio / factor, ratio * factor, p_value)


def hanley_mcneil_variance(auc: float, n_events: int, n_others: int) -> float:
    """Variance of an AUC from its value and the class sizes alone (Hanley & McNeil 1982, Radiology 143:29)."""
    of_two_events, of_two_others = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (n_events - 1) * (of_two_events - auc**2) + (n_others - 1) * (of_two_others - auc**2)
    return spread / (n_events * n_others)


def _measure(label: np.ndarray, probability: np.ndarray, expected: Expected | None) -> dict[str, Measured | None]:
    n_events = int(label.sum())
    if len(label) < MIN_LABELLED or min(n_events, len(label) - n_events) < MIN_EVENTS:
        return dict.fromkeys(("auc", "brier", "o_e_ratio"))
    return {
        "auc": None if expected is None else measure_auc(label, probability, expected),
        "brier": measure_brier(label, probability),
        "o_e_ratio": measure_observed_to_expected(label, probability),
    }


def _row(
    center: str,
    metric: str,
    measured: Measured | None,
    label: np.ndarray,
    window: tuple[datetime | None, datetime],
) -> PerformanceRow:
    value, low, high = (None, None, None) if measured is None else (measured.value, measured.low, measured.high)
    n, n_events = len(label), int(label.sum())
    return PerformanceRow(
        center, *window, metric, value, low, high, n, n_events, kind="realized", verdict=Verdict.INSUFFICIENT
    )


def _judge(
    rows: Sequence[PerformanceRow], p_values: Sequence[float | None], false_alarm_rate: float
) -> tuple[PerformanceRow, ...]:
    judged = [k for k, p_value in enumerate(p_values) if p_value is not None]
    adjusted = holm(np.array([p_values[k] for k in judged], dtype=float))
    verdicts = {
        k: Verdict.DRIFT if p <= false_alarm_rate else Verdict.STABLE for k, p in zip(judged, adjusted, strict=True)
    }
    return tuple(replace(row, verdict=verdicts.get(k, Verdict.INSUFFICIENT)) for k, row in enumerate(rows))


def _two_sided(excess: float, variance: float) -> float:
    from scipy.stats import norm

    return float(2 * norm.sf(abs(excess) / np.sqrt(max(variance, 1e-12))))
