"""95 % intervals by closed formulas: Wilson for fractions, DeLong (and Newcombe at its edge) for the AUC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Z95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % bounds."""

    value: float
    low: float
    high: float


def wilson(successes: int, trials: int) -> Interval | None:
    """A fraction with Wilson's score interval (Wilson 1927); None of nothing."""
    if trials == 0:
        return None
    fraction = successes / trials
    spread = 1 + Z95**2 / trials
    centre = (fraction + Z95**2 / (2 * trials)) / spread
    half = Z95 * np.sqrt(fraction * (1 - fraction) / trials + Z95**2 / (4 * trials**2)) / spread
    # At 0 and 1 the bound equals the fraction but for rounding.
    return Interval(
        fraction, max(0.0, min(fraction, float(centre - half))), min(1.0, max(fraction, float(centre + half)))
    )


def auc(outcome: np.ndarray, score: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """Chance that a positive scores above a negative, ties counting half; `score` is (n,) or (models, n).

    With `groups`, only cases of one group are compared: out-of-fold scores of different folds come from different
    models, and comparing them biases the AUC downwards (measured: 0.485 instead of 0.501 where nothing can be learnt).
    Raises `ValueError` where there is no pair to compare.
    """
    from scipy.stats import rankdata

    won, pairs = np.zeros(score.shape[:-1]), 0
    for rows in _groups_with_pairs(outcome, groups):
        positive = outcome[rows].astype(bool)
        m, n = int(positive.sum()), int((~positive).sum())
        won = won + rankdata(score[..., rows], axis=-1)[..., positive].sum(axis=-1) - m * (m + 1) / 2
        pairs += m * n
    if not pairs:
        raise ValueError("an AUC needs a positive and a negative to compare")
    return won / pairs


def auc_delong(outcome: np.ndarray, score: np.ndarray, groups: np.ndarray | None = None) -> Interval:
    """The AUC with DeLong's interval (DeLong 1988, by midranks as Sun & Xu 2014, doi:10.1109/LSP.2014.2337313).

    With `groups` (k folds), the cross-validated AUC with DeLong's variance on each case's standing within its own fold
    (LeDell 2015, doi:10.1214/15-EJS1035), times 1 + k / (k - 1): folds share training rows, so their errors do not
    cancel (Nadeau & Bengio 2003, doi:10.1023/A:1024068626366; measured at n = 144: the AUC's spread over data sets is
    1.2 to 1.4 times what DeLong alone says, the factor is 1.5). Where DeLong's variance is 0 and says nothing (every
    positive beats every negative, or all score alike) the interval is Newcombe's.
    """
    value = float(auc(outcome, score, groups))
    parts = [_placements(outcome[rows], score[rows]) for rows in _groups_with_pairs(outcome, groups)]
    of_positives, of_negatives = (np.concatenate(side) for side in zip(*parts, strict=True))
    m, n = len(of_positives), len(of_negatives)
    variance = of_positives.var(ddof=1) / m + of_negatives.var(ddof=1) / n if min(m, n) > 1 else 0.0
    if variance < 1e-12:
        return auc_newcombe(value, m, n)
    n_folds = 1 if groups is None else len(np.unique(groups))
    shared = 1 + n_folds / (n_folds - 1) if n_folds > 1 else 1.0
    half = Z95 * float(np.sqrt(variance * shared))
    return Interval(value, max(0.0, value - half), min(1.0, value + half))


def auc_newcombe(value: float, n_positive: int, n_negative: int) -> Interval:
    """Score-type interval of an AUC from its value and the class sizes alone.

    Newcombe 2006, doi:10.1002/sim.2324, method 5.
    """
    from scipy.optimize import brentq

    size = (n_positive + n_negative) / 2 - 1

    def excess(theta: float) -> float:
        shape = 1 + size * (1 - theta) / (2 - theta) + size * theta / (1 + theta)
        return float((value - theta) ** 2 - Z95**2 * theta * (1 - theta) * shape / (n_positive * n_negative))

    low = 0.0 if value <= 0 else float(brentq(excess, 0.0, value)) if value < 1 else float(brentq(excess, 0, 1 - 1e-9))
    high = 1.0 if value >= 1 else float(brentq(excess, value, 1.0)) if value > 0 else float(brentq(excess, 1e-9, 1))
    return Interval(value, low, high)


def _placements(outcome: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How each positive stands among the negatives and each negative among the positives (0 to 1)."""
    from scipy.stats import rankdata

    positive = outcome.astype(bool)
    m, n = int(positive.sum()), int((~positive).sum())
    ranks = rankdata(score)
    of_positives = (ranks[positive] - rankdata(score[positive])) / n
    of_negatives = 1 - (ranks[~positive] - rankdata(score[~positive])) / m
    return of_positives, of_negatives


def _groups_with_pairs(outcome: np.ndarray, groups: np.ndarray | None) -> list[np.ndarray]:
    """Row numbers of each group in which both classes are there."""
    of_row = np.zeros(len(outcome), dtype=int) if groups is None else groups
    every = (np.flatnonzero(of_row == group) for group in np.unique(of_row))
    return [rows for rows in every if 0 < outcome[rows].sum() < len(rows)]
