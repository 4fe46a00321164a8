"""Reads the training frame: which columns are clinical, radiomics or embedding, as matrices of float64.

Nothing here looks at the outcome of a row it encodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from clnm.entities import ClinicalVariable, VariableKind

RADIOMICS_SCORE = "radiomics_score"
DL_SCORE = "dl_score"
DL_MARGIN = "dl_margin"
"""Column of a frame that holds the logit of a network fine-tuned to outcomes."""


@dataclass(frozen=True, slots=True)
class ClinicalEncoder:
    """Clinical variables as columns of numbers; what stands in for a missing value was learnt on training rows.

    A number is itself, a flag 0 or 1, a category one 0/1 column per level but the first (`tumor_edge=unclear`).
    Missing becomes the training median of the column, which for 0/1 columns is the more frequent value.
    """

    variables: tuple[ClinicalVariable, ...]
    fill: tuple[float, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the encoded columns."""
        return tuple(name for variable in self.variables for name in _column_names(variable))

    def encode(self, frame: pd.DataFrame) -> np.ndarray:
        """The (rows, columns) matrix of `frame`, without missing values."""
        raw = _raw_columns(frame, self.variables)
        return np.where(np.isnan(raw), np.asarray(self.fill).reshape(1, -1), raw)


def fit_encoder(frame: pd.DataFrame, variables: Sequence[ClinicalVariable]) -> ClinicalEncoder:
    """Learn the stand-ins on training rows. A column that is never there is filled with 0 (and so carries nothing)."""
    raw = _raw_columns(frame, variables)
    fill = []
    for column in raw.T:
        known = column[~np.isnan(column)]
        fill.append(_middle(known) if len(known) else 0.0)
    return ClinicalEncoder(tuple(variables), tuple(fill))


def number_matrix(frame: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """The (rows, columns) matrix of columns of numbers; what is missing or infinite is NaN."""
    matrix = frame.reindex(columns=list(columns)).to_numpy(dtype=float, na_value=np.nan)
    return np.where(np.isfinite(matrix), matrix, np.nan)


def embedding_matrix(frame: pd.DataFrame, length: int) -> np.ndarray:
    """The (rows, `length`) matrix of embeddings; a row without one, or with one of another length, is NaN."""
    matrix = np.full((len(frame), length), np.nan)
    if "embedding" not in frame.columns:
        return matrix
    for row, value in enumerate(frame["embedding"]):
        if _is_there(value) and len(value) == length:
            matrix[row] = np.asarray(value, dtype=float)
    return np.where(np.isfinite(matrix), matrix, np.nan)


def embedding_length(frame: pd.DataFrame) -> int:
    """How long the frame's embeddings are (the most frequent length); 0 where there is none."""
    if "embedding" not in frame.columns:
        return 0
    lengths = [len(value) for value in frame["embedding"] if _is_there(value)]
    return max(sorted(set(lengths)), key=lengths.count) if lengths else 0


def _is_there(value: object) -> bool:
    return value is not None and hasattr(value, "__len__")


def _column_names(variable: ClinicalVariable) -> list[str]:
    if variable.kind is VariableKind.CATEGORY:
        return [f"{variable.name}={level}" for level in variable.levels[1:]]
    return [variable.name]


def _raw_columns(frame: pd.DataFrame, variables: Sequence[ClinicalVariable]) -> np.ndarray:
    columns = [column for variable in variables for column in _encode(frame, variable)]
    return np.column_stack(columns) if columns else np.empty((len(frame), 0))


def _encode(frame: pd.DataFrame, variable: ClinicalVariable) -> list[np.ndarray]:
    if variable.name not in frame.columns:
        return [np.full(len(frame), np.nan) for _ in _column_names(variable)]
    values = frame[variable.name]
    missing = values.isna().to_numpy()
    if variable.kind is VariableKind.CATEGORY:
        unknown = missing | ~values.isin(variable.levels).to_numpy()
        return [
            np.where(unknown, np.nan, (values == level).fillna(False).to_numpy(dtype=float))
            for level in variable.levels[1:]
        ]
    number = np.array([np.nan if gone else float(value) for value, gone in zip(values, missing, strict=True)])
    return [np.where(np.isfinite(number), number, np.nan)]


def _middle(known: np.ndarray) -> float:
    """The median; on 0/1 columns with as many zeros as ones 0, never the half that no patient has."""
    if np.isin(known, (0.0, 1.0)).all():
        return float(known.mean() > 0.5)
    return float(np.median(known))
