"""How likely a batch's counts are, were the batch like its center's own history: exact tails, honest with few rows.

A query gives counts, this gives the chance, and an expectation says below which chance a batch is held. No test of
means and no normal approximation: of three rows against twenty nothing can be said, and a large chance says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

_SHARE = ("_count", "_of", "_count_before", "_of_before")
_NUMBER = ("_count", "_expected")


def add_chances(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with a column `<name>_chance` for each `<name>` whose counts are there; null where one of them is null.

    `<name>_count`, `_of`, `_count_before`, `_of_before`: see `chance_of_share`. `<name>_count`, `_expected`: see
    `chance_of_number`.
    """
    chances = {}
    for name in [column.removesuffix("_count") for column in frame.columns if column.endswith("_count")]:
        if all(name + end in frame for end in _SHARE):
            chances[f"{name}_chance"] = chance_of_share(*(_numbers(frame, name + end) for end in _SHARE))
        elif all(name + end in frame for end in _NUMBER):
            chances[f"{name}_chance"] = chance_of_number(*(_numbers(frame, name + end) for end in _NUMBER))
    return frame.assign(**chances)


def chance_of_share(count: np.ndarray, of: np.ndarray, count_before: np.ndarray, of_before: np.ndarray) -> np.ndarray:
    """(n,) chance of `count` or more among `of`, when `count + count_before` are spread by chance over all.

    Fisher's exact test, one-sided (Fisher 1934). 1 where there is no history.
    """
    from scipy.stats import hypergeom

    return np.asarray(hypergeom.sf(count - 1, of + of_before, count + count_before, of), dtype=np.float64)


def chance_of_number(count: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """(n,) chance of `count` or more, when `expected` are to be expected: the tail of Poisson's law."""
    from scipy.stats import poisson

    return np.asarray(poisson.sf(count - 1, expected), dtype=np.float64)


def _numbers(frame: pd.DataFrame, column: str) -> np.ndarray:
    return frame[column].to_numpy(dtype=np.float64, na_value=np.nan)
