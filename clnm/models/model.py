"""One fitted model, from a row of the training frame to a probability: encoder, signatures, LASSO terms, estimator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from clnm.models.calibrate import Line
from clnm.models.frame import (
    DL_MARGIN,
    DL_SCORE,
    RADIOMICS_SCORE,
    ClinicalEncoder,
    embedding_matrix,
    number_matrix,
)
from clnm.models.signatures import Signature
from clnm.models.zoo import ZOO

NO_FEATURES = "no_features"
NO_EMBEDDING = "no_embedding"


@dataclass(frozen=True, slots=True)
class Representation:
    """What a row is turned into before the second stage: encoded clinical columns, then the scores there are."""

    encoder: ClinicalEncoder
    radiomics: Signature | None
    deep: Signature | None
    embedding_length: int

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the second stage's candidate columns."""
        scores = ((RADIOMICS_SCORE, self.radiomics), (DL_SCORE, self.deep))
        return (*self.encoder.columns, *(name for name, signature in scores if signature is not None))

    def design(self, frame: pd.DataFrame) -> np.ndarray:
        """The (rows, terms) matrix; NaN where a score cannot be computed."""
        columns = [self.encoder.encode(frame)]
        if self.radiomics is not None:
            columns.append(_score(self.radiomics, number_matrix(frame, self.radiomics.columns))[:, None])
        if self.deep is not None:
            columns.append(_score(self.deep, self._deep_columns(frame, self.deep.columns))[:, None])
        return np.hstack(columns)

    def _deep_columns(self, frame: pd.DataFrame, names: tuple[str, ...]) -> np.ndarray:
        if names == (DL_MARGIN,):
            return number_matrix(frame, names)
        whole = embedding_matrix(frame, self.embedding_length)
        return whole[:, [embedding_place(name) for name in names]]


@dataclass(frozen=True, slots=True)
class Model:
    """A model as it is kept and used. `threshold` is the cut-off frozen on the training rows.

    A model with a `network` (the name of its weights) needs the frame to hold that network's `dl_margin`.
    """

    algorithm: str
    outcome: str
    representation: Representation
    fusion: Signature
    """The terms the LASSO kept, their standardisation, and its coefficients (which the estimator refits)."""
    estimator: Any
    link: Line
    threshold: float
    network: str = ""

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        """Probability per row; NaN where `missing` names a reason."""
        probability = np.full(len(frame), np.nan)
        chosen = self._chosen_terms(frame)
        usable = ~np.isnan(chosen).any(axis=1)
        if usable.any():
            probability[usable] = self.link.probability(self._raw(self.fusion.standardise(chosen[usable])))
        return probability

    def missing(self, frame: pd.DataFrame) -> np.ndarray:
        """Why a row cannot be scored: `no_features`, `no_embedding`, or '' where it can.

        Missing clinical values are no reason: the training median stands in.
        """
        chosen = self._chosen_terms(frame)
        reasons = np.full(len(frame), "", dtype=object)
        for term, reason in ((DL_SCORE, NO_EMBEDDING), (RADIOMICS_SCORE, NO_FEATURES)):
            if term in self.fusion.columns:
                reasons[np.isnan(chosen[:, self.fusion.columns.index(term)])] = reason
        return reasons

    def recalibrated(self, line: Line) -> Model:
        """This model with `line` applied to its logits (see `calibrate.recalibrate`); the cut-off moves along."""
        link = Line(line.intercept + line.slope * self.link.intercept, line.slope * self.link.slope)
        cut = np.log(self.threshold / (1 - self.threshold)) if 0 < self.threshold < 1 else np.nan
        threshold = float(line.probability(np.array(cut))) if np.isfinite(cut) else self.threshold
        return replace(self, link=link, threshold=threshold)

    def _chosen_terms(self, frame: pd.DataFrame) -> np.ndarray:
        terms = self.representation.terms
        return self.representation.design(frame)[:, [terms.index(name) for name in self.fusion.columns]]

    def _raw(self, standard: np.ndarray) -> np.ndarray:
        if self.estimator is None:  # a score alone is its own margin; no term at all is 0 for everyone
            return standard.sum(axis=1)
        return ZOO[self.algorithm].raw(self.estimator, standard)


def embedding_name(place: int) -> str:
    """The name of one number of the embedding, e.g. `embedding_0017`."""
    return f"embedding_{place:04d}"


def embedding_place(name: str) -> int:
    """The inverse of `embedding_name`."""
    return int(name.removeprefix("embedding_"))


def _score(signature: Signature, matrix: np.ndarray) -> np.ndarray:
    """Scores; NaN where more than half of the signature's columns are missing: medians would speak, not the case."""
    is_mostly_missing = np.isnan(matrix).mean(axis=1) > 0.5
    return np.where(is_mostly_missing, np.nan, signature.score(matrix))
