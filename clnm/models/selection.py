"""The funnel: of many feature columns the few worth a penalised fit, judged on the rows given and on no others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MIN_PRESENT_FRACTION = 0.8
"""A column missing on more than a fifth of the rows is not used: filling it in would be inventing it."""


@dataclass(frozen=True, slots=True)
class FunnelRule:
    """How narrow the funnel is: Mann-Whitney p below `screen_p`, then Spearman |r| with every kept one in bounds."""

    screen_p: float = 0.05
    max_correlation: float = 0.9
    max_kept: int = 100
    """Columns kept at most, best p first: more than rows only costs time in an L1 fit of about 100 rows."""


OPEN = FunnelRule(screen_p=1.0, max_correlation=1.0)
"""Nothing is dropped but constants: for columns chosen beforehand."""


@dataclass(frozen=True, slots=True)
class Funnel:
    """Which columns passed, and how a row's values become standardised ones. Arrays are (kept,)."""

    kept: np.ndarray
    medians: np.ndarray
    means: np.ndarray
    scales: np.ndarray

    def apply(self, matrix: np.ndarray) -> np.ndarray:
        """The kept columns of (rows, columns), missing values by median, each standardised: (rows, kept)."""
        chosen = matrix[:, self.kept]
        return (np.where(np.isnan(chosen), self.medians, chosen) - self.means) / self.scales


def fit_funnel(matrix: np.ndarray, outcome: np.ndarray, rule: FunnelRule) -> Funnel:
    """Screen and prune the columns of a (rows, columns) matrix (NaN is missing) against a boolean outcome."""
    present = np.flatnonzero(np.isfinite(matrix).mean(axis=0) >= MIN_PRESENT_FRACTION)
    filled = matrix[:, present]
    medians = np.median(filled, axis=0) if filled.size else np.empty(0)
    gaps = np.isnan(medians)  # the plain median is NaN where one value is missing, and much faster where none is
    medians[gaps] = np.nanmedian(filled[:, gaps], axis=0) if gaps.any() else 0.0
    filled = np.where(np.isnan(filled), medians, filled)
    means, scales = filled.mean(axis=0), filled.std(axis=0)
    alive = scales > 1e-9 * np.maximum(1.0, np.abs(means))  # constants up to rounding
    ranks = _ranks(filled[:, alive])
    order = _screen(ranks, outcome, rule)
    kept = np.flatnonzero(alive)[_prune(ranks, order, rule)]
    return Funnel(present[kept], medians[kept], means[kept], scales[kept])


def mann_whitney_p(matrix: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """Two-sided p of the Mann-Whitney U test per column, by the normal approximation with ties, without continuity.

    The variance of the rank sum is m n S^2 / N with S^2 the sample variance of the midranks, which is the usual tie
    correction (Lehmann, Nonparametrics, 1975, s. 1.4).
    """
    return _p_of_ranks(_ranks(matrix), outcome)


def _screen(ranks: np.ndarray, outcome: np.ndarray, rule: FunnelRule) -> np.ndarray:
    """Columns that pass, best p first; the column order breaks ties."""
    if rule.screen_p >= 1.0:
        return np.arange(ranks.shape[1])
    p_values = _p_of_ranks(ranks, outcome)
    order = np.argsort(p_values, kind="stable")
    return order[p_values[order] < rule.screen_p]


def _prune(ranks: np.ndarray, order: np.ndarray, rule: FunnelRule) -> np.ndarray:
    """Go down the order; keep a column unless it is too correlated (Spearman) with one kept before."""
    if rule.max_correlation >= 1.0:
        return order[: rule.max_kept]
    centred = ranks[:, order] - ranks[:, order].mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=0)
    is_open = np.ones(len(order), dtype=bool)
    kept: list[int] = []
    for position in range(len(order)):
        if not is_open[position]:
            continue
        kept.append(position)
        if len(kept) == rule.max_kept:
            break
        is_open &= np.abs(unit[:, position] @ unit) <= rule.max_correlation
    return order[kept]


def _ranks(matrix: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return rankdata(matrix, axis=0) if matrix.size else np.empty(matrix.shape)


def _p_of_ranks(ranks: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    from scipy.special import ndtr

    positive = outcome.astype(bool)
    m, n = int(positive.sum()), int((~positive).sum())
    total = m + n
    variance = m * n * ranks.var(axis=0, ddof=1) / total
    distance = np.abs(ranks[positive].sum(axis=0) - m * (total + 1) / 2)
    z = np.divide(distance, np.sqrt(variance), out=np.zeros_like(distance), where=variance > 0)
    return 2 * ndtr(-z)
