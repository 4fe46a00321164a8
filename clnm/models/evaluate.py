"""Judges probabilities against outcomes: discrimination, decisions at a frozen cut-off, calibration, each with CI."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from clnm.models.calibrate import Estimate, calibration_intercept, calibration_slope
from clnm.models.intervals import Z95, Interval, auc, auc_delong, wilson

MIN_PER_CLASS = 5
"""Below five of either class a measure is `insufficient`: no value, only n."""
N_BOOTSTRAP = 2000


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One row of `evaluations` (model version aside). `value` is None where there are too few to say."""

    algorithm: str
    cohort: str
    """`cv` (whole-path cross-validation on the train centers) or `external`."""
    center: str
    """A center, or `all`."""
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    n_events: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts at a cut-off."""

    tp: int
    fn: int
    fp: int
    tn: int

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 0 where nothing was found and nothing was there."""
        return 2 * self.tp / max(1, 2 * self.tp + self.fp + self.fn)

    def fractions(self) -> dict[str, Interval | None]:
        """Accuracy, precision, recall, specificity, NPV with Wilson intervals; None of an empty denominator."""
        return {
            "accuracy": wilson(self.tp + self.tn, self.tp + self.fn + self.fp + self.tn),
            "precision": wilson(self.tp, self.tp + self.fp),
            "recall": wilson(self.tp, self.tp + self.fn),
            "specificity": wilson(self.tn, self.tn + self.fp),
            "npv": wilson(self.tn, self.tn + self.fn),
        }

    def f1_interval(self, seed: int) -> Interval:
        """F1 with the percentile bootstrap; resampling cases is drawing the four counts from a multinomial."""
        counts = np.array([self.tp, self.fn, self.fp, self.tn])
        drawn = np.random.default_rng(seed).multinomial(counts.sum(), counts / counts.sum(), size=N_BOOTSTRAP)
        tp, fn, fp = drawn[:, 0], drawn[:, 1], drawn[:, 2]
        values = 2 * tp / np.maximum(1, 2 * tp + fp + fn)
        return Interval(self.f1, float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975)))


def confusion(outcome: np.ndarray, probability: np.ndarray, threshold: float) -> Confusion:
    """Counts when `probability >= threshold` is called positive."""
    positive, called = outcome.astype(bool), probability >= threshold
    return Confusion(
        tp=int((positive & called).sum()),
        fn=int((positive & ~called).sum()),
        fp=int((~positive & called).sum()),
        tn=int((~positive & ~called).sum()),
    )


def youden_threshold(outcome: np.ndarray, probability: np.ndarray) -> float:
    """The cut-off of largest sensitivity + specificity - 1, halfway between two neighbouring predictions.

    Of equally good cut-offs the lowest, which misses fewest. To be fed out-of-fold predictions of training rows alone:
    on the rows it is judged on, it flatters J by 0.05 at n = 70.
    """
    levels = np.unique(probability)
    cuts = np.concatenate([levels[:1], (levels[1:] + levels[:-1]) / 2])
    positive = outcome.astype(bool)
    missed = np.searchsorted(np.sort(probability[positive]), cuts, side="left") / positive.sum()
    spared = np.searchsorted(np.sort(probability[~positive]), cuts, side="left") / (~positive).sum()
    return float(cuts[np.argmax(spared - missed)])


def evaluate(
    algorithm: str,
    cohort: str,
    center: str,
    outcome: np.ndarray,
    probability: np.ndarray,
    *,
    threshold: float,
    seed: int,
    folds: np.ndarray | None = None,
) -> tuple[Evaluation, ...]:
    """Every metric of one model on one cohort; `outcome` boolean (n,), `probability` float (n,) without NaN.

    `folds` (n,) for out-of-fold probabilities: the AUC then compares within a fold, as `intervals.auc` says.
    """
    n, n_events = len(outcome), int(outcome.astype(bool).sum())
    is_enough = min(n_events, n - n_events) >= MIN_PER_CLASS
    measured: dict[str, Interval | None] = (
        {"auc": _auc(outcome, probability, folds), **dict(_measure(outcome, probability, threshold, seed))}
        if is_enough
        else dict.fromkeys(METRICS)
    )
    return tuple(
        Evaluation(
            algorithm,
            cohort,
            center,
            metric,
            None if interval is None else interval.value,
            None if interval is None else interval.low,
            None if interval is None else interval.high,
            n,
            n_events,
        )
        for metric, interval in measured.items()
    )


def selection_optimism(
    outcome: np.ndarray, probabilities: np.ndarray, folds: np.ndarray, *, seed: int, n_bootstrap: int = 200
) -> float:
    """By how much the best of several cross-validated AUCs flatters itself for having been picked.

    `probabilities` is (models, n). Bootstrap within class and fold: the winner's AUC on the resample, less the same
    model's AUC on all rows, on average.
    """
    generator = np.random.default_rng(seed)
    cells = [
        np.flatnonzero((outcome == label) & (folds == fold)) for label in (True, False) for fold in np.unique(folds)
    ]
    whole = auc(outcome, probabilities, folds)
    excess = []
    for _ in range(n_bootstrap):
        rows = np.concatenate([generator.choice(members, len(members)) for members in cells if len(members)])
        drawn = auc(outcome[rows], probabilities[:, rows], folds[rows])
        excess.append(drawn.max() - whole[drawn.argmax()])
    return float(np.mean(excess))


METRICS = (
    *("auc", "accuracy", "precision", "recall", "specificity", "npv", "f1"),
    *("brier", "calibration_slope", "calibration_intercept", "o_e_ratio"),
)
"""In the order they are reported."""


def _measure(
    outcome: np.ndarray, probability: np.ndarray, threshold: float, seed: int
) -> Iterator[tuple[str, Interval | None]]:
    counts = confusion(outcome, probability, threshold)
    yield from counts.fractions().items()
    yield "f1", counts.f1_interval(seed)
    squares = (probability - outcome) ** 2
    yield "brier", _around(Estimate(float(squares.mean()), float(squares.std(ddof=1) / np.sqrt(len(squares)))))
    yield "calibration_slope", _around(calibration_slope(outcome, probability))
    yield "calibration_intercept", _around(calibration_intercept(outcome, probability))
    yield "o_e_ratio", _observed_to_expected(outcome, probability)


def _auc(outcome: np.ndarray, probability: np.ndarray, folds: np.ndarray | None) -> Interval | None:
    try:
        return auc_delong(outcome, probability, folds)
    except ValueError:  # no fold has both classes at this center
        return None


def _around(estimate: Estimate | None) -> Interval | None:
    if estimate is None:
        return None
    half = Z95 * estimate.standard_error
    return Interval(estimate.value, estimate.value - half, estimate.value + half)


def _observed_to_expected(outcome: np.ndarray, probability: np.ndarray) -> Interval | None:
    """O:E with a log-normal interval, se(log O:E) = sqrt((1 - prevalence) / O) (Debray 2017, doi:10.1136/bmj.i6460)."""
    observed, expected = float(outcome.sum()), float(probability.sum())
    if observed == 0 or expected == 0:
        return None
    ratio = observed / expected
    factor = float(np.exp(Z95 * np.sqrt((1 - outcome.mean()) / observed)))
    return Interval(ratio, ratio / factor, ratio * factor)
