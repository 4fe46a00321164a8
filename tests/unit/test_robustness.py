"""Intraclass correlation by the book, and perturbations that leave an ROI an ROI."""

import numpy as np
import pytest

from clnm.features import robustness
from clnm.features.robustness import MIN_ROIS, N_PERTURBATIONS, icc_2_1, is_robust, perturb
from tests.unit.fast_agreement import blob, speckle

SHROUT_AND_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float
)
"""Psychol Bull 1979; 86:420-428, table 2: four judges rate six targets."""


def test_shrout_and_fleiss_own_example_gives_their_icc_and_bound(monkeypatch):
    monkeypatch.setattr(robustness, "MIN_ROIS", 6)
    found = icc_2_1(SHROUT_AND_FLEISS[:, :, None])
    assert found.icc[0] == pytest.approx(0.29, abs=0.005)
    assert found.lower[0] == pytest.approx(0.02, abs=0.005)
    assert found.upper[0] == pytest.approx(0.76, abs=0.005)  # as R's psych gives it


def test_agreement_is_absolute_a_reader_who_always_measures_more_lowers_it():
    truth = np.random.default_rng(1).normal(size=40)
    same = np.stack([truth, truth + 0.01], axis=1)[:, :, None]
    shifted = np.stack([truth, truth + 2.0], axis=1)[:, :, None]
    assert icc_2_1(same).icc[0] > 0.99
    assert icc_2_1(shifted).icc[0] < 0.5


def test_the_bound_covers_the_true_icc_as_often_as_it_says():
    """True ICC 0.8: the variance between ROIs is four times that of the readings."""
    generator = np.random.default_rng(2)
    ratings = 2.0 * generator.normal(size=(30, 1, 2000)) + generator.normal(size=(30, 2, 2000))
    found = icc_2_1(ratings)
    assert 0.96 < (found.lower <= 0.8).mean() < 0.99  # one-sided 97.5 %
    assert 0.96 < (found.upper >= 0.8).mean() < 0.99


def test_a_constant_feature_and_too_few_rois_say_nothing():
    constant = icc_2_1(np.full((20, 3, 1), 1234.5))
    assert np.isnan(constant.icc[0])
    assert is_robust(constant).tolist() == [None]
    few = icc_2_1(np.random.default_rng(3).normal(size=(MIN_ROIS - 1, 2, 4)))
    assert is_robust(few).tolist() == [None] * 4
    assert is_robust(None, None).tolist() == []


def test_a_feature_is_robust_only_where_each_agreement_there_is_says_so():
    steady = np.random.default_rng(4).normal(size=(20, 1, 2)) * np.ones((20, 3, 2))
    noise = np.random.default_rng(5).normal(size=(20, 3, 2))
    good = icc_2_1(steady + 0.01 * noise)
    mixed = icc_2_1(steady * [1, 0] + noise * [0.01, 1])
    assert is_robust(good).tolist() == [True, True]
    assert is_robust(good, None).tolist() == [True, True]
    assert is_robust(good, mixed).tolist() == [True, False]


def test_every_perturbation_changes_something_and_leaves_a_mask():
    image, mask = speckle(1, (80, 90)), blob(700, 2, (80, 90))
    found = list(perturb(image, mask, seed=5))
    assert len(found) == N_PERTURBATIONS
    np.testing.assert_array_equal(found[0][0], image)
    np.testing.assert_array_equal(found[0][1], mask)
    for changed, drawn in found[1:]:
        assert (changed != image).any() or (drawn != mask).any()
        assert drawn.dtype == bool
        assert 0.6 * mask.sum() < drawn.sum() < 1.6 * mask.sum()
        assert changed.min() >= 0
        assert changed.max() <= image.max()


def test_the_same_seed_perturbs_alike():
    image, mask = speckle(1, (60, 60)), blob(300, 2, (60, 60))
    for (a, b), (c, d) in zip(perturb(image, mask, seed=5), perturb(image, mask, seed=5), strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)


def test_a_tiny_mask_is_never_perturbed_away():
    mask = np.zeros((20, 20), dtype=bool)
    mask[5:7, 5:7] = True
    assert all(drawn.any() for _, drawn in perturb(np.ones((20, 20)), mask, seed=1))
