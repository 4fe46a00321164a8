"""Fits the whole path on the rows given and on no others: encoder, signatures, LASSO over the terms, tuned models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd

from clnm.entities import ClinicalVariable
from clnm.models.calibrate import Line, platt
from clnm.models.folds import Fold, deal_folds
from clnm.models.frame import (
    DL_MARGIN,
    DL_SCORE,
    RADIOMICS_SCORE,
    embedding_matrix,
    fit_encoder,
    number_matrix,
)
from clnm.models.model import Model, Representation, embedding_name
from clnm.models.selection import OPEN, FunnelRule
from clnm.models.signatures import EMPTY, LassoRule, Signature, SignatureRule, fit_signature, out_of_fold_scores
from clnm.models.zoo import ALGORITHMS, ZOO, Parameters


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """The choices the published abstract leaves open. Defaults follow the methods its sibling studies state."""

    seed: int = 2025
    outer_folds: int = 5
    """Folds of the cross-validation that judges the whole path."""
    inner_folds: int = 5
    """Folds inside a training part that choose the hyper-parameters."""
    score_folds: int = 10
    """Folds inside a training part that make its scores out-of-fold: with five, scores learnt on 80 % of the rows speak
    for those learnt on all, and the fused models lose 0.01 of AUC (simulated, n = 144)."""
    lambda_folds: int = 10
    """Folds inside a LASSO, which choose its lambda."""
    screen_p: float = 0.05
    """Univariate screen (Mann-Whitney). Uncorrected: it only narrows what the LASSO sees, inside each fold."""
    max_correlation: float = 0.9
    """Spearman |r| above which the less significant of two columns is dropped."""
    max_kept: int = 100
    lasso_rule: LassoRule = "min"
    """`min` as the siblings; `1se` gives the sparser signature that is as good within one standard error."""
    algorithms: tuple[str, ...] = ALGORITHMS

    @property
    def score_rule(self) -> SignatureRule:
        """How both scores are found."""
        funnel = FunnelRule(self.screen_p, self.max_correlation, self.max_kept)
        return SignatureRule(funnel, self.lambda_folds, self.seed, self.lasso_rule)

    @property
    def fusion_rule(self) -> SignatureRule:
        """How the second stage's terms are found: no screen, and never none."""
        return SignatureRule(OPEN, self.lambda_folds, self.seed, self.lasso_rule, needs_one=True)


_MARGIN = Signature((DL_MARGIN,), (0.0,), (0.0,), (1.0,), (1.0,))
"""The DL score of a fine-tuned network: its margin as it is."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns of the training frame are what."""

    outcome: str
    variables: tuple[ClinicalVariable, ...]
    radiomics_columns: tuple[str, ...]
    embedding_length: int


class Network(Protocol):
    """A network fine-tuned to the outcomes of some rows."""

    def margins(self, frame: pd.DataFrame) -> np.ndarray:
        """The logit of each row's picture, 0 for the average row it was fitted to; NaN where there is no picture."""


FitNetwork = Callable[[pd.DataFrame], Network]
"""Fits a network to the outcomes of the rows given and no others."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """All models of one training part (cut-offs still at 0.5), the scores first, and the chosen hyper-parameters.

    Every algorithm is there, and every score its columns are there for: a model without a single term answers with the
    prevalence.
    """

    models: dict[str, Model]
    parameters: dict[str, Parameters] = field(default_factory=dict)
    network: Network | None = None

    def seen(self, frame: pd.DataFrame) -> pd.DataFrame:
        """`frame` as the models read it: with the network's margins, where there is a network."""
        return frame if self.network is None else frame.assign(**{DL_MARGIN: self.network.margins(frame)})


def fit_everything(
    frame: pd.DataFrame, layout: Layout, options: TrainingOptions, fit_network: FitNetwork | None = None
) -> Fitted:
    """Fit the whole path on `frame`: every row has an outcome, features, and an embedding if the layout has any.

    With `fit_network`, the DL score is the margin of a network fine-tuned here, not a signature over embeddings.
    """
    from threadpoolctl import threadpool_limits

    outcome = frame[layout.outcome].to_numpy(dtype=bool)
    patients = frame["patient_key"].to_numpy()
    folds = deal_folds(outcome, patients, options.inner_folds, options.seed)
    with threadpool_limits(limits=1):
        if not layout.embedding_length:
            fit_network = None
        representation, terms = _represent(frame, layout, outcome, options, fit_network)
        network = fit_network(frame) if fit_network else None
        models = _score_models(representation, terms, outcome, layout)
        fusion = fit_signature(terms, representation.terms, outcome, patients, options.fusion_rule)
        places = [representation.terms.index(name) for name in fusion.columns]
        standard = fusion.standardise(terms[:, places])
        parameters = {}
        for name in options.algorithms:
            estimator, link, parameters[name] = _tune(name, standard, outcome, folds, options.seed)
            models[name] = Model(name, layout.outcome, representation, fusion, estimator, link, threshold=0.5)
    return Fitted(models, parameters, network)


def _represent(
    frame: pd.DataFrame,
    layout: Layout,
    outcome: np.ndarray,
    options: TrainingOptions,
    fit_network: FitNetwork | None,
) -> tuple[Representation, np.ndarray]:
    """The representation, and the training rows in it: their scores are out-of-fold."""
    patients = frame["patient_key"].to_numpy()
    folds = deal_folds(outcome, patients, options.score_folds, options.seed)
    encoder = fit_encoder(frame, layout.variables)
    names = tuple(embedding_name(place) for place in range(layout.embedding_length))
    sources = {RADIOMICS_SCORE: (number_matrix(frame, layout.radiomics_columns), layout.radiomics_columns)}
    if fit_network is None:
        sources[DL_SCORE] = (embedding_matrix(frame, layout.embedding_length), names)
    signatures: dict[str, Signature] = {}
    terms = [encoder.encode(frame)]
    for score, (matrix, columns) in sources.items():
        signature = fit_signature(matrix, columns, outcome, patients, options.score_rule)
        if signature.columns:
            signatures[score] = signature
            terms.append(out_of_fold_scores(matrix, outcome, patients, folds, options.score_rule)[:, None])
    if fit_network is not None:
        signatures[DL_SCORE] = _MARGIN
        terms.append(_out_of_fold_margins(frame, folds, fit_network)[:, None])
    representation = Representation(
        encoder, signatures.get(RADIOMICS_SCORE), signatures.get(DL_SCORE), layout.embedding_length
    )
    return representation, np.hstack(terms)


def _out_of_fold_margins(frame: pd.DataFrame, folds: Sequence[Fold], fit_network: FitNetwork) -> np.ndarray:
    margins = np.zeros(len(frame))
    for fit_rows, held_rows in folds:
        margins[held_rows] = fit_network(frame.iloc[fit_rows]).margins(frame.iloc[held_rows])
    return margins


def _score_models(
    representation: Representation, terms: np.ndarray, outcome: np.ndarray, layout: Layout
) -> dict[str, Model]:
    """Each score as a model of its own: one term, and the line that makes its out-of-fold values probabilities."""
    asked = {RADIOMICS_SCORE: bool(layout.radiomics_columns), DL_SCORE: layout.embedding_length > 0}
    models = {}
    for name in (name for name, is_asked in asked.items() if is_asked):
        alone, margin = EMPTY, np.zeros(len(outcome))
        if name in representation.terms:
            alone = Signature((name,), (0.0,), (0.0,), (1.0,), (1.0,))
            margin = terms[:, representation.terms.index(name)]
        models[name] = Model(name, layout.outcome, representation, alone, None, platt(margin, outcome), threshold=0.5)
    return models


def _tune(
    name: str, standard: np.ndarray, outcome: np.ndarray, folds: Sequence[Fold], seed: int
) -> tuple[Any, Line, Parameters]:
    """Choose from the grid by out-of-fold Brier score (proper: it asks for rank and calibration), then refit."""
    if not standard.shape[1]:
        return None, platt(np.zeros(len(outcome)), outcome), {}
    algorithm = ZOO[name]
    best: tuple[float, Line, Parameters] | None = None
    for parameters in algorithm.grid:
        raw = np.empty(len(outcome))
        for fit_rows, held_rows in folds:
            estimator = algorithm.fit(standard[fit_rows], outcome[fit_rows], parameters, seed)
            raw[held_rows] = algorithm.raw(estimator, standard[held_rows])
        link = platt(raw, outcome) if algorithm.is_margin else Line()
        brier = float(((link.probability(raw) - outcome) ** 2).mean())
        if best is None or brier < best[0]:
            best = brier, link, parameters
    assert best is not None
    return algorithm.fit(standard, outcome, best[2], seed), best[1], best[2]
