"""The nine algorithms of the second stage: how each is fitted, over which small grid, and how it speaks in logits.

Each sees fewer than about a dozen standardised columns and about a hundred rows; grids run from simple to flexible and
stop where trees would memorise. One thread, fixed seeds: the same rows give the same model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clnm.models.calibrate import logit

Parameters = Mapping[str, float]
N_TREES = 100
RAREST = 0.005
"""Neighbours and leaves answer 0 or 1; about a hundred rows cannot teach a risk below 1 in 200."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A way to fit (rows, columns) against a boolean outcome.

    `fit(matrix, outcome, parameters, seed)` gives an estimator; `raw(estimator, matrix)` its answer on the logit
    scale, or a margin that still needs a Platt line (`is_margin`).
    """

    grid: tuple[Parameters, ...]
    fit: Callable[[np.ndarray, np.ndarray, Parameters, int], Any]
    raw: Callable[[Any, np.ndarray], np.ndarray]
    is_margin: bool = False


def _fit_lr(matrix: np.ndarray, outcome: np.ndarray, parameters: Parameters, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=parameters["C"], random_state=seed, max_iter=1000).fit(matrix, outcome)


def _fit_svm(matrix: np.ndarray, outcome: np.ndarray, parameters: Parameters, seed: int) -> Any:
    from sklearn.svm import SVC

    return SVC(kernel="rbf", C=parameters["C"], gamma="scale", random_state=seed).fit(matrix, outcome)


def _fit_knn(matrix: np.ndarray, outcome: np.ndarray, parameters: Parameters, _seed: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    n_neighbors = min(int(parameters["n_neighbors"]), len(outcome))
    return KNeighborsClassifier(n_neighbors, algorithm="brute").fit(matrix, outcome)


def _fit_tree(matrix: np.ndarray, outcome: np.ndarray, parameters: Parameters, seed: int) -> Any:
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(
        max_depth=int(parameters["max_depth"]), min_samples_leaf=5, random_state=seed
    ).fit(matrix, outcome)  # fmt: skip


def _fit_forest(matrix: np.ndarray, outcome: np.ndarray, parameters: Parameters, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    leaf = int(parameters["min_samples_leaf"])
    return RandomForestClassifier(N_TREES, min_samples_leaf=leaf, random_state=seed, n_jobs=1).fit(matrix, outcome)


def _fit_extra(matrix: np.ndarray, outcome: np.ndarray, parameters: Parameters, seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    leaf = int(parameters["min_samples_leaf"])
    return ExtraTreesClassifier(N_TREES, min_samples_leaf=leaf, random_state=seed, n_jobs=1).fit(matrix, outcome)


def _fit_xgboost(matrix: np.ndarray, outcome: np.ndarray, parameters: Parameters, seed: int) -> Any:
    import xgboost

    settings = {
        "objective": "binary:logistic",
        "eta": 0.1,
        "subsample": 0.8,
        "min_child_weight": 2,
        "tree_method": "exact",
        "nthread": 1,
        "seed": seed,
        "verbosity": 0,
        "max_depth": int(parameters["max_depth"]),
    }
    rows = xgboost.DMatrix(matrix, label=outcome.astype(float), nthread=1)
    return xgboost.train(settings, rows, num_boost_round=int(parameters["rounds"]))


def _fit_lightgbm(matrix: np.ndarray, outcome: np.ndarray, parameters: Parameters, seed: int) -> Any:
    import lightgbm

    settings = {
        "objective": "binary",
        "learning_rate": 0.1,
        "min_data_in_leaf": 5,
        "min_data_in_bin": 1,
        "lambda_l2": 1.0,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "seed": seed,
        "verbosity": -1,
        "num_leaves": int(parameters["num_leaves"]),
    }
    rows = lightgbm.Dataset(matrix, label=outcome.astype(float), params=settings)
    return lightgbm.train(settings, rows, num_boost_round=int(parameters["rounds"]))


def _fit_mlp(matrix: np.ndarray, outcome: np.ndarray, parameters: Parameters, seed: int) -> Any:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopping early is part of the regularisation
        return MLPClassifier(
            (8,), solver="lbfgs", alpha=parameters["alpha"], max_iter=200, random_state=seed
        ).fit(matrix, outcome)  # fmt: skip


def _raw_probability(estimator: Any, matrix: np.ndarray) -> np.ndarray:
    return logit(np.clip(estimator.predict_proba(matrix)[:, 1], RAREST, 1 - RAREST))


def _raw_margin(estimator: Any, matrix: np.ndarray) -> np.ndarray:
    return np.asarray(estimator.decision_function(matrix), dtype=float)


def _raw_xgboost(estimator: Any, matrix: np.ndarray) -> np.ndarray:
    import xgboost

    rows = xgboost.DMatrix(matrix, nthread=1)
    return np.asarray(estimator.predict(rows, output_margin=True), dtype=float)


def _raw_lightgbm(estimator: Any, matrix: np.ndarray) -> np.ndarray:
    return np.asarray(estimator.predict(matrix, raw_score=True, num_threads=1), dtype=float)


def _grid(name: str, *values: float) -> tuple[Parameters, ...]:
    return tuple({name: value} for value in values)


ZOO: dict[str, Algorithm] = {
    "lr": Algorithm(_grid("C", 0.1, 1.0, 10.0), _fit_lr, _raw_margin),
    "svm": Algorithm(_grid("C", 0.1, 1.0, 10.0), _fit_svm, _raw_margin, is_margin=True),
    "knn": Algorithm(_grid("n_neighbors", 25, 15, 9), _fit_knn, _raw_probability),
    "decision_tree": Algorithm(_grid("max_depth", 2, 3, 4), _fit_tree, _raw_probability),
    "random_forest": Algorithm(_grid("min_samples_leaf", 8, 3), _fit_forest, _raw_probability),
    "extra_trees": Algorithm(_grid("min_samples_leaf", 8, 3), _fit_extra, _raw_probability),
    "xgboost": Algorithm(
        ({"max_depth": 2, "rounds": 30}, {"max_depth": 2, "rounds": 80}, {"max_depth": 3, "rounds": 80}),
        _fit_xgboost,
        _raw_xgboost,
    ),
    "lightgbm": Algorithm(
        ({"num_leaves": 4, "rounds": 30}, {"num_leaves": 4, "rounds": 80}, {"num_leaves": 8, "rounds": 80}),
        _fit_lightgbm,
        _raw_lightgbm,
    ),
    "mlp": Algorithm(_grid("alpha", 10.0, 1.0, 0.1), _fit_mlp, _raw_probability),
}
"""The nine, simplest first: of equal cross-validated AUC the earlier one leads."""

ALGORITHMS: tuple[str, ...] = tuple(ZOO)
