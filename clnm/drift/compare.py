"""Compares two windows feature by feature: frames of cases in, one comparison per feature out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from clnm.drift.statistics import compare_counts, ks_two_sample, largest_share_change, median_shift
from clnm.entities import VariableKind


@dataclass(frozen=True, slots=True)
class Comparison:
    """One feature, reference against current. All but the counts is None where there was too little, or no spread."""

    feature: str
    n_reference: int
    n_current: int
    statistic: str
    value: float | None = None
    p_value: float | None = None
    effect: float | None = None


@dataclass(frozen=True, slots=True)
class Enough:
    """How many values each side needs before a feature is tested."""

    reference: int
    current: int


def compare(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    features: Sequence[str],
    *,
    kinds: Mapping[str, VariableKind],
    enough: Enough,
) -> dict[str, Comparison]:
    """Every feature's comparison: numbers by Kolmogorov-Smirnov, categories and flags by their counts.

    `kinds` names what is not a number. A feature that is no column of the frames has no values.
    """
    counted = [name for name in features if kinds.get(name, VariableKind.NUMBER) is not VariableKind.NUMBER]
    measured = [name for name in features if name not in set(counted)]
    found = {name: _compare_levels(name, reference, current, enough) for name in counted}
    found.update(_compare_numbers(measured, _matrix(reference, measured), _matrix(current, measured), enough))
    return {name: found[name] for name in features}


def _matrix(frame: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """(rows, names) of float64; what is missing or infinite is NaN."""
    matrix = frame.reindex(columns=list(names)).to_numpy(dtype=float, na_value=np.nan)
    return np.where(np.isfinite(matrix), matrix, np.nan)


def _compare_numbers(
    names: Sequence[str], reference: np.ndarray, current: np.ndarray, enough: Enough
) -> dict[str, Comparison]:
    """Columns that miss the same rows are tested together: one ranking of a matrix instead of one per feature."""
    found: dict[str, Comparison] = {}
    is_there = ~np.isnan(np.vstack([reference, current]))
    for pattern, columns in _columns_by_pattern(is_there):
        here, there = pattern[: len(reference)], pattern[len(reference) :]
        before, after = reference[here][:, columns], current[there][:, columns]
        named = [names[column] for column in columns]
        counts = len(before), len(after)
        if counts[0] < enough.reference or counts[1] < enough.current:
            found.update({name: Comparison(name, *counts, "ks") for name in named})
            continue
        value, p_value = ks_two_sample(before, after)
        effect = median_shift(before, after)
        varies = (before != before[:1]).any(axis=0) | (after != before[:1]).any(axis=0)
        for k, name in enumerate(named):
            if not varies[k]:
                found[name] = Comparison(name, *counts, "ks")
                continue
            shift = float(effect[k]) if np.isfinite(effect[k]) else None
            found[name] = Comparison(name, *counts, "ks", float(value[k]), float(p_value[k]), shift)
    return found


def _columns_by_pattern(is_there: np.ndarray) -> list[tuple[np.ndarray, list[int]]]:
    groups: dict[bytes, list[int]] = {}
    for column, packed in enumerate(np.packbits(is_there, axis=0).T):
        groups.setdefault(packed.tobytes(), []).append(column)
    return [(is_there[:, columns[0]], columns) for columns in groups.values()]


def _compare_levels(name: str, reference: pd.DataFrame, current: pd.DataFrame, enough: Enough) -> Comparison:
    """Levels as they occur: one the configuration does not know is a change worth seeing."""
    before, after = (_levels(frame, name) for frame in (reference, current))
    levels = sorted({*before, *after})
    if len(before) < enough.reference or len(after) < enough.current or len(levels) < 2:
        return Comparison(name, len(before), len(after), "chi2")
    counts = [np.array([side.count(level) for level in levels]) for side in (before, after)]
    statistic, value, p_value = compare_counts(*counts)
    if len(levels) == 2:
        change = float((counts[1] / len(after) - counts[0] / len(before))[1])
    else:
        change = largest_share_change(*counts)
    return Comparison(name, len(before), len(after), statistic, value, p_value, change)


def _levels(frame: pd.DataFrame, name: str) -> list[str]:
    if name not in frame.columns:
        return []
    return [str(int(value) if isinstance(value, (bool, np.bool_)) else value) for value in frame[name].dropna()]


def without(frame: pd.DataFrame, case_keys: Collection[str]) -> pd.DataFrame:
    """The cases that are not among `case_keys`."""
    return frame[~frame["case_key"].isin(list(case_keys))]
