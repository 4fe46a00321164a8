"""Fits a signature: a sparse weighted sum of standardised features (LASSO logistic), and its out-of-fold scores.

A training row's out-of-fold score owes nothing to its own outcome: funnel and lambda are found anew without its fold.
Sharing lambda among the folds (pre-validation) is cheaper, but on pure noise its scores reach an AUC of 0.60.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from clnm.models.folds import Fold, deal_folds
from clnm.models.selection import OPEN, Funnel, FunnelRule, fit_funnel

LassoRule = Literal["min", "1se"]

N_LAMBDAS = 20
SMALLEST_LAMBDA = 0.01
"""The path ends at this part of the lambda at which the first feature enters (glmnet's choice for rows < columns)."""
PATIENCE = 4
"""Steps down the path without a better deviance after which the rest is not tried: it only gets denser and slower."""
INTERCEPT_SCALING = 10.0
"""liblinear penalises the intercept too; scaled by 10 the penalty on it is a tenth."""


@dataclass(frozen=True, slots=True)
class SignatureRule:
    """How a signature is found: the funnel before it, the folds that choose lambda, and how they choose.

    `min` takes the lambda of least out-of-fold deviance, `1se` the largest within one standard error of it.
    """

    funnel: FunnelRule = OPEN
    n_folds: int = 10
    seed: int = 0
    lasso_rule: LassoRule = "min"
    needs_one: bool = False
    """An empty signature is an answer (every score is 0), unless this is set: then the first feature to enter stays."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A weighted sum over named columns: score = sum of coefficient * (value - mean) / scale, 0 for the average row.

    Without an intercept, so that scores of different folds share one origin and no fold's prevalence leaks into them.
    """

    columns: tuple[str, ...]
    medians: tuple[float, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    coefficients: tuple[float, ...]

    def standardise(self, matrix: np.ndarray) -> np.ndarray:
        """(rows, columns) in the order of `columns`, NaN by median, standardised as on the training rows."""
        filled = np.where(np.isnan(matrix), np.asarray(self.medians), matrix)
        return (filled - np.asarray(self.means)) / np.asarray(self.scales)

    def score(self, matrix: np.ndarray) -> np.ndarray:
        """The score of each row of (rows, columns)."""
        # A row's sum does not depend on its neighbours: no BLAS, whose blocking does.
        return (self.standardise(matrix) * np.asarray(self.coefficients)).sum(axis=1)


EMPTY = Signature((), (), (), (), ())
"""No column kept: every row scores 0."""


def fit_signature(
    matrix: np.ndarray, names: Sequence[str], outcome: np.ndarray, patients: np.ndarray, rule: SignatureRule
) -> Signature:
    """The signature of a (rows, columns) matrix, NaN where missing, against a boolean outcome.

    Lambda is chosen by cross-validation over patients in which the funnel is run anew.
    """
    funnel = fit_funnel(matrix, outcome, rule.funnel)
    if not len(funnel.kept):
        return EMPTY
    standard = funnel.apply(matrix)
    lambdas = _lambda_path(standard, outcome)
    best = _choose_lambda(matrix, outcome, deal_folds(outcome, patients, rule.n_folds, rule.seed), lambdas, rule)
    weights, _ = _fit_lasso(standard, outcome, lambdas[best])
    while rule.needs_one and not weights.any() and best + 1 < len(lambdas):
        best += 1
        weights, _ = _fit_lasso(standard, outcome, lambdas[best])
    return _name(funnel, weights, names)


def out_of_fold_scores(
    matrix: np.ndarray, outcome: np.ndarray, patients: np.ndarray, folds: Sequence[Fold], rule: SignatureRule
) -> np.ndarray:
    """Each row's score by the signature found on the folds it is not in: (rows,)."""
    scores = np.zeros(len(outcome))
    names = [str(column) for column in range(matrix.shape[1])]
    for fit_rows, held_rows in folds:
        signature = fit_signature(matrix[fit_rows], names, outcome[fit_rows], patients[fit_rows], rule)
        columns = [int(name) for name in signature.columns]
        scores[held_rows] = signature.score(matrix[held_rows][:, columns])
    return scores


def _lambda_path(standard: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """From the lambda at which the first feature enters downwards, evenly in log; objective: mean loss + lambda |w|."""
    gradient = np.abs(standard.T @ (outcome - outcome.mean())) / len(outcome)
    return max(float(gradient.max()), 1e-6) * np.geomspace(1.0, SMALLEST_LAMBDA, N_LAMBDAS)


def _choose_lambda(
    matrix: np.ndarray, outcome: np.ndarray, folds: Sequence[Fold], lambdas: np.ndarray, rule: SignatureRule
) -> int:
    """The place in the path by out-of-fold deviance, going down all folds' paths side by side."""
    parts = []
    for fit_rows, held_rows in folds:
        funnel = fit_funnel(matrix[fit_rows], outcome[fit_rows], rule.funnel)
        parts.append((funnel.apply(matrix[fit_rows]), outcome[fit_rows], funnel.apply(matrix[held_rows]), held_rows))
    deviances: list[np.ndarray] = []
    best = 0
    for step, strength in enumerate(lambdas):
        deviance = []
        for standard, truth, held, held_rows in parts:
            weights, intercept = _fit_lasso(standard, truth, strength)
            logits = intercept + held @ weights
            deviance.append(np.mean(np.logaddexp(0.0, logits) - logits * outcome[held_rows]))
        deviances.append(np.array(deviance))
        if deviances[step].mean() < deviances[best].mean():
            best = step
        if step >= best + PATIENCE:
            break
    if rule.lasso_rule == "min":
        return best
    bound = deviances[best].mean() + deviances[best].std(ddof=1) / np.sqrt(len(folds))
    return next(step for step, deviance in enumerate(deviances) if deviance.mean() <= bound)


def _fit_lasso(standard: np.ndarray, outcome: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
    """Weights (columns,) and intercept of the L1 logistic fit at one lambda."""
    if not standard.shape[1]:
        prevalence = outcome.mean()
        return np.zeros(0), float(np.log(prevalence / (1 - prevalence)))
    from sklearn import config_context
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # Tens of thousands of small fits: checking their arguments would take as long as fitting.
    with config_context(assume_finite=True, skip_parameter_validation=True), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # at the dense end of the path, never chosen if it is poor
        model = LogisticRegression(
            l1_ratio=1.0,
            C=1.0 / (strength * len(outcome)),
            solver="liblinear",
            intercept_scaling=INTERCEPT_SCALING,
            random_state=0,
            max_iter=200,
        ).fit(standard, outcome)
    return model.coef_[0], float(model.intercept_[0])


def _name(funnel: Funnel, weights: np.ndarray, names: Sequence[str]) -> Signature:
    chosen = np.flatnonzero(weights)
    return Signature(
        tuple(names[column] for column in funnel.kept[chosen]),
        tuple(funnel.medians[chosen].tolist()),
        tuple(funnel.means[chosen].tolist()),
        tuple(funnel.scales[chosen].tolist()),
        tuple(weights[chosen].tolist()),
    )
