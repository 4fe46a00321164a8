"""What holds of folds, cut-offs, intervals and funnels whatever the rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clnm.models.evaluate import confusion, youden_threshold
from clnm.models.folds import deal_folds
from clnm.models.intervals import auc, auc_delong, auc_newcombe, wilson
from clnm.models.selection import FunnelRule, fit_funnel, mann_whitney_p

seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.integers(12, 120), st.integers(2, 10))
def test_no_patient_is_on_both_sides_of_a_fold(seed, n, n_folds):
    generator = np.random.default_rng(seed)
    patients = generator.integers(0, max(4, n // 2), n)
    outcome = generator.random(n) < 0.4
    folds = deal_folds(outcome, patients, n_folds, seed)
    assert sorted(np.concatenate([held for _, held in folds]).tolist()) == list(range(n))
    for fit_rows, held_rows in folds:
        assert not set(patients[fit_rows]) & set(patients[held_rows])
        assert sorted([*fit_rows, *held_rows]) == list(range(n))


@given(seeds, st.integers(2, 6))
def test_positives_are_dealt_evenly(seed, n_folds):
    outcome = np.arange(60) % 3 == 0
    counts = [outcome[held].sum() for _, held in deal_folds(outcome, np.arange(60), n_folds, seed)]
    assert max(counts) - min(counts) <= 1
    assert len(counts) == n_folds


@given(seeds, st.integers(2, 40), st.integers(2, 40))
def test_the_auc_is_the_share_of_pairs_won(seed, m, n):
    generator = np.random.default_rng(seed)
    positives, negatives = generator.integers(0, 9, m), generator.integers(0, 9, n)
    outcome = np.repeat([True, False], [m, n])
    pairs = np.subtract.outer(positives, negatives)
    expected = (pairs > 0).mean() + (pairs == 0).mean() / 2
    scores = np.concatenate([positives, negatives]).astype(float)
    assert auc(outcome, scores) == pytest.approx(expected)
    assert auc(outcome, np.stack([scores, -scores])) == pytest.approx([expected, 1 - expected])
    interval = auc_delong(outcome, scores)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1


@given(st.floats(0, 1), st.integers(1, 200), st.integers(1, 200))
def test_newcombes_interval_holds_its_estimate(value, m, n):
    interval = auc_newcombe(value, m, n)
    assert -1e-9 <= interval.low <= value + 1e-9
    assert value - 1e-9 <= interval.high <= 1 + 1e-9


@given(st.integers(1, 300), st.data())
def test_wilsons_interval_holds_its_fraction(trials, data):
    interval = wilson(data.draw(st.integers(0, trials)), trials)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.low < interval.high


@given(seeds)
def test_no_other_cut_off_has_a_larger_youden_index(seed):
    generator = np.random.default_rng(seed)
    outcome = np.repeat([True, False], [7, 13])
    probability = np.round(generator.random(20), 1)

    def youden(threshold):
        counts = confusion(outcome, probability, threshold)
        return counts.tp / 7 + counts.tn / 13 - 1

    best = youden(youden_threshold(outcome, probability))
    assert best == pytest.approx(max(youden(cut) for cut in np.linspace(-0.05, 1.05, 23)))


@settings(max_examples=30)
@given(seeds)
def test_the_funnel_keeps_only_what_passes_and_no_two_twins(seed):
    generator = np.random.default_rng(seed)
    outcome = np.arange(50) < 20
    sources = generator.normal(size=(50, 4)) + generator.random(4) * outcome[:, None]
    matrix = sources[:, generator.integers(0, 4, 25)] + 0.3 * generator.normal(size=(50, 25))
    kept = fit_funnel(matrix, outcome, FunnelRule()).kept
    p_values = mann_whitney_p(matrix, outcome)
    assert (p_values[kept] < 0.05).all()
    assert (np.diff(p_values[kept]) >= 0).all()
    ranks = np.argsort(np.argsort(matrix[:, kept], axis=0), axis=0)
    correlation = np.abs(np.corrcoef(ranks.T)) if len(kept) > 1 else np.eye(1)
    assert (correlation - np.eye(len(correlation)) <= 0.9 + 1e-12).all()


@settings(max_examples=30)
@given(seeds, st.floats(0.1, 50), st.floats(-100, 100))
def test_the_screen_does_not_depend_on_units(seed, scale, shift):
    generator = np.random.default_rng(seed)
    matrix = np.round(generator.normal(size=(40, 6)), 3)
    outcome = np.arange(40) < 15
    np.testing.assert_allclose(mann_whitney_p(matrix, outcome), mann_whitney_p(matrix * scale + shift, outcome))
