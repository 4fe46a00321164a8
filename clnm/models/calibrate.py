"""Lines in logit space: turns margins into probabilities, and says how far probabilities are from the outcomes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_STEPS = 50
_CLIP = 1e-6
"""A probability of exactly 0 or 1 (a leaf of a tree) has no logit; it counts as one in a million."""


@dataclass(frozen=True, slots=True)
class Line:
    """probability = 1 / (1 + exp(-(intercept + slope * value)))."""

    intercept: float = 0.0
    slope: float = 1.0

    def probability(self, values: np.ndarray) -> np.ndarray:
        """Probabilities of values on the logit scale (margins, scores or logits)."""
        from scipy.special import expit

        return expit(self.intercept + self.slope * values)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with the standard error it was measured with."""

    value: float
    standard_error: float


def logit(probability: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)), with p kept a millionth away from 0 and 1."""
    inside = np.clip(probability, _CLIP, 1 - _CLIP)
    return np.log(inside / (1 - inside))


def platt(values: np.ndarray, outcome: np.ndarray) -> Line:
    """The line that turns out-of-fold margins into probabilities (Platt 1999), never a falling one.

    Targets are smoothed as Platt does, (N+ + 1) / (N+ + 2) and 1 / (N- + 2), so that separable margins stay finite.
    Margins that rank the wrong way say nothing: the answer is then the prevalence for everyone.
    """
    positive = outcome.astype(bool)
    high, low = (positive.sum() + 1) / (positive.sum() + 2), 1 / ((~positive).sum() + 2)
    target = np.where(positive, high, low)
    flat = Line(float(np.log(positive.mean() / (1 - positive.mean()))), 0.0)
    if np.ptp(values) == 0:
        return flat
    fitted = _newton(np.column_stack([np.ones(len(values)), values]), target, np.zeros(len(values)))
    if fitted is None or fitted[0][1] <= 0:
        return flat
    return Line(float(fitted[0][0]), float(fitted[0][1]))


def calibration_slope(outcome: np.ndarray, probability: np.ndarray) -> Estimate | None:
    """Slope of the outcome on the predicted logit (1 is right, below 1 overfitted); None where it cannot be fitted."""
    logits = logit(probability)
    if np.ptp(logits) == 0:
        return None
    fitted = _newton(np.column_stack([np.ones(len(logits)), logits]), outcome.astype(float), np.zeros(len(logits)))
    return None if fitted is None else Estimate(float(fitted[0][1]), float(np.sqrt(fitted[1][1, 1])))


def calibration_intercept(outcome: np.ndarray, probability: np.ndarray) -> Estimate | None:
    """Calibration in the large: the logit shift that makes the mean prediction right (0 is right), slope held at 1."""
    fitted = _newton(np.ones((len(outcome), 1)), outcome.astype(float), logit(probability))
    return None if fitted is None else Estimate(float(fitted[0][0]), float(np.sqrt(fitted[1][0, 0])))


def recalibrate(outcome: np.ndarray, probability: np.ndarray, *, fits_slope: bool) -> Line | None:
    """The line over a model's logits that a center's own answers ask for: intercept alone, or with slope."""
    if not fits_slope:
        shift = calibration_intercept(outcome, probability)
        return None if shift is None else Line(shift.value, 1.0)
    logits = logit(probability)
    fitted = _newton(np.column_stack([np.ones(len(logits)), logits]), outcome.astype(float), np.zeros(len(logits)))
    return None if fitted is None else Line(float(fitted[0][0]), float(fitted[0][1]))


def _newton(design: np.ndarray, target: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Maximum likelihood of a logistic regression: coefficients and their covariance; None where it has no maximum."""
    from scipy.special import expit

    beta = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        fitted = expit(design @ beta + offset)
        information = design.T @ (design * (fitted * (1 - fitted))[:, None])
        if np.linalg.cond(information) > 1e12:
            return None
        step = np.linalg.solve(information, design.T @ (target - fitted))
        beta = beta + np.clip(step, -5.0, 5.0)
        if np.abs(step).max() < 1e-9:
            return beta, np.linalg.inv(information)
    return None
