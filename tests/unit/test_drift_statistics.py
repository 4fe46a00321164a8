"""The two-sample tests and the multiplicity procedures, against cases worked by hand and against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from clnm.drift.statistics import (
    MAX_EXACT,
    benjamini_hochberg,
    compare_counts,
    holm,
    ks_two_sample,
    largest_share_change,
    median_shift,
    simes,
)


def test_ks_of_two_against_one_worked_by_hand():
    # 1, 2 | 3: of the three orders of one current value among two, two reach the distance 1.
    distance, p_value = ks_two_sample(np.array([[1.0], [2.0]]), np.array([[3.0]]))
    assert distance[0] == 1.0
    assert p_value[0] == pytest.approx(2 / 3)


@pytest.mark.parametrize(("n", "m"), [(15, 10), (26, 12), (54, 27), (30, 30), (100, 101), (300, 20)])
def test_ks_equals_scipys_exact_test(n, m):
    generator = np.random.default_rng(n * m)
    reference, current = generator.normal(size=(n, 20)), generator.normal(0.4, size=(m, 20))
    distance, p_value = ks_two_sample(reference, current)
    told = [stats.ks_2samp(reference[:, k], current[:, k], method="exact") for k in range(20)]
    assert distance == pytest.approx([each.statistic for each in told])
    assert p_value == pytest.approx([each.pvalue for each in told], rel=1e-9)


def test_small_ks_p_values_keep_their_digits():
    # All 12 current values above all 26: two of all orders.
    _, p_value = ks_two_sample(np.arange(26.0)[:, None], np.arange(26.0, 38.0)[:, None])
    assert p_value[0] == pytest.approx(2 / stats.binom._pmf(12, 38, 0.5) / 2**38, rel=1e-9)


def test_beyond_the_exact_limit_p_values_err_on_the_quiet_side():
    generator = np.random.default_rng(0)
    reference, current = generator.normal(size=(MAX_EXACT // 100 + 1, 40)), generator.normal(size=(100, 40))
    _, p_value = ks_two_sample(reference, current)
    exact = [stats.ks_2samp(reference[:, k], current[:, k], method="exact").pvalue for k in range(40)]
    assert np.all(p_value >= np.array(exact) * (1 - 1e-9))
    assert np.all(p_value <= np.array(exact) * 1.5)


def test_ks_with_ties_equals_scipys_distance():
    generator = np.random.default_rng(4)
    reference, current = generator.integers(0, 5, (40, 10)) * 1.0, generator.integers(0, 6, (20, 10)) * 1.0
    distance, _ = ks_two_sample(reference, current)
    assert distance == pytest.approx([stats.ks_2samp(reference[:, k], current[:, k]).statistic for k in range(10)])


def test_a_column_that_is_one_value_everywhere_has_distance_zero_and_p_one():
    distance, p_value = ks_two_sample(np.ones((20, 1)), np.ones((10, 1)))
    assert (distance[0], p_value[0]) == (0.0, 1.0)


def test_large_counts_are_compared_by_chi_square():
    table = np.array([[90, 60, 50], [30, 40, 30]])
    told = stats.chi2_contingency(table, correction=False)
    assert compare_counts(*table) == ("chi2", pytest.approx(told.statistic), pytest.approx(told.pvalue))


def test_small_counts_of_a_flag_are_fishers_exact_test():
    table = np.array([[20, 3], [5, 8]])
    assert compare_counts(*table)[2] == pytest.approx(stats.fisher_exact(table).pvalue)


def test_small_counts_of_three_levels_worked_by_hand():
    # Rows 2, 1, 0 and 0, 0, 1; 4 cases, one drawn: p of the table seen is 1/4, of the others 2/4 and 1/4.
    _, _, p_value = compare_counts(np.array([2, 1, 0]), np.array([0, 0, 1]))
    assert p_value == pytest.approx(0.5)


def test_many_rare_levels_are_joined_instead_of_enumerated_forever():
    reference, current = np.full(40, 3), np.concatenate([np.full(20, 2), np.zeros(20, dtype=int)])
    _, _, p_value = compare_counts(reference, current)
    assert 0 < p_value <= 1


def test_simes_worked_by_hand():
    # The least of 3 x 0.01 / 1, 3 x 0.04 / 2 and 3 x 0.9 / 3.
    assert simes(np.array([0.9, 0.01, 0.04])) == pytest.approx(0.03)


def test_holm_worked_by_hand():
    # Sorted 0.01, 0.02, 0.03 become 3 times, 2 times and once themselves, and never fall: 0.03, 0.04, 0.04.
    assert holm(np.array([0.03, 0.01, 0.02])) == pytest.approx([0.04, 0.03, 0.04])


def test_benjamini_hochberg_equals_scipy():
    p_values = np.random.default_rng(1).random(200) ** 2
    assert benjamini_hochberg(p_values) == pytest.approx(stats.false_discovery_control(p_values))


def test_the_shift_of_a_median_is_in_robust_standard_deviations():
    reference = np.array([[1.0], [2.0], [3.0], [4.0], [100.0]])  # median 3, MAD 1
    assert median_shift(reference, reference + 2)[0] == pytest.approx(2 / 1.4826)


def test_where_half_the_reference_is_one_value_the_standard_deviation_is_the_unit():
    reference = np.array([[0.0], [0.0], [0.0], [4.0]])
    assert median_shift(reference, np.array([[1.0], [1.0]]))[0] == pytest.approx(1 / np.sqrt(3))
    assert np.isnan(median_shift(np.zeros((4, 1)), np.ones((2, 1)))[0])


def test_the_largest_change_of_a_share_has_its_sign():
    assert largest_share_change(np.array([5, 5, 0]), np.array([4, 1, 5])) == pytest.approx(0.5)
    assert largest_share_change(np.array([8, 1, 1]), np.array([1, 4, 5])) == pytest.approx(-0.7)
