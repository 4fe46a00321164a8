"""Deals patients into folds: a patient is never on both sides, and positives are spread evenly."""

from __future__ import annotations

import numpy as np

Fold = tuple[np.ndarray, np.ndarray]
"""Row numbers to fit on, row numbers to predict."""


def deal_folds(outcome: np.ndarray, patients: np.ndarray, n_folds: int, seed: int) -> list[Fold]:
    """Split rows into `n_folds` by patient, stratified by whether any of the patient's rows is positive.

    Fewer folds come back where a class has fewer patients than `n_folds` (never fewer than two), so that no fold is
    without positives while there are enough of them. Patients are dealt in the order they come in, not in that of their
    keys: another pseudonym key deals the same folds.
    """
    keys, first, group = np.unique(patients.astype(str), return_index=True, return_inverse=True)
    group = np.argsort(np.argsort(first))[group]
    is_positive = np.zeros(len(keys), dtype=bool)
    np.logical_or.at(is_positive, group, outcome.astype(bool))
    scarce = int(min(is_positive.sum(), (~is_positive).sum()))
    n_folds = max(2, min(n_folds, scarce))
    generator = np.random.default_rng(seed)
    hand = np.empty(len(keys), dtype=int)
    start = 0
    for stratum in (True, False):
        members = generator.permutation(np.flatnonzero(is_positive == stratum))
        hand[members] = (np.arange(len(members)) + start) % n_folds
        start += len(members)
    of_row = hand[group]
    return [(np.flatnonzero(of_row != fold), np.flatnonzero(of_row == fold)) for fold in range(n_folds)]
