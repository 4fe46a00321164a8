"""Which training rows can be learnt from, and whether they are enough."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from clnm.entities import ClinicalVariable
from clnm.errors import TooFewCasesError, UserError
from clnm.models.fitting import Layout
from clnm.models.frame import embedding_length, embedding_matrix, number_matrix

MIN_EVENTS = 10
"""Positives, and negatives, a training frame needs: two a fold in five folds."""


def usable_rows(
    train: pd.DataFrame, outcome: str, variables: Sequence[ClinicalVariable], radiomics_columns: Sequence[str]
) -> tuple[pd.DataFrame, Layout, list[str]]:
    """Train rows that have what the others have, what their columns are, and what was left out.

    What most rows lack is left out for all of them. Raises `TooFewCasesError` where too few of either outcome remain.
    """
    warnings = []
    length = embedding_length(train)
    has_features = ~np.isnan(number_matrix(train, radiomics_columns)).all(axis=1)
    has_embedding = ~np.isnan(embedding_matrix(train, length)).all(axis=1)
    is_usable = np.ones(len(train), dtype=bool)
    kept_columns = tuple(radiomics_columns)
    for name, present in (("radiomics", has_features), ("embedding", has_embedding)):
        is_asked = bool(kept_columns) if name == "radiomics" else length > 0
        if not is_asked:
            continue
        if 2 * present.sum() < len(train):
            warnings.append(f"{name} left out: only {int(present.sum())} of {len(train)} training cases have it")
            kept_columns, length = ((), length) if name == "radiomics" else (kept_columns, 0)
        else:
            is_usable &= present
    if not is_usable.all():
        warnings.append(f"{int((~is_usable).sum())} of {len(train)} training cases left out: no features")
    layout = Layout(outcome, tuple(variables), kept_columns, length)
    rows = train[is_usable].reset_index(drop=True)
    _demand_enough(rows, layout)
    return rows, layout, warnings


def _demand_enough(rows: pd.DataFrame, layout: Layout) -> None:
    demand_outcomes(rows[layout.outcome])
    if not (layout.variables or layout.radiomics_columns or layout.embedding_length):
        raise UserError("training frame has neither clinical variables nor features; run `clnm extract` first")


def demand_outcomes(outcome: pd.Series) -> None:
    """Nothing where there are enough of both outcomes, all of them known.

    Raises:
        TooFewCasesError: fewer than `MIN_EVENTS` of one of them.
    """
    truth = outcome.to_numpy(dtype=bool)
    for name, count in (("positive", int(truth.sum())), ("negative", int((~truth).sum()))):
        if count < MIN_EVENTS:
            raise TooFewCasesError(
                f"training frame has {count} {name} outcomes, needs {MIN_EVENTS}; "
                "wait for more answers of pathology, or give another center role = 'train'"
            )
