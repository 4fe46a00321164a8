"""What must hold of every sample, and of four hundred nights: false alarms stay below the rate, true ones are seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clnm.drift.statistics import benjamini_hochberg, compare_counts, holm, ks_two_sample, simes
from clnm.entities import Verdict
from tests.unit.drifting import cases_of_a_night, look

FINITE = st.integers(-50, 50).map(float)
P_VALUES = arrays(float, st.integers(1, 30), elements=st.floats(1e-12, 1.0))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(arrays(float, (12, 2), elements=FINITE), arrays(float, (9, 2), elements=FINITE))
def test_ks_is_symmetric_and_sees_ranks_alone(reference, current):
    distance, p_value = ks_two_sample(reference, current)
    swapped = ks_two_sample(current, reference)
    monotone = ks_two_sample(np.arctan(reference / 7), np.arctan(current / 7))
    for other in (swapped, monotone):
        assert other[0] == pytest.approx(distance)
        assert other[1] == pytest.approx(p_value)
    assert np.all((p_value > 0) & (p_value <= 1))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=2, max_size=5))
def test_the_comparison_of_counts_does_not_depend_on_the_order_of_levels(pairs):
    table = np.array(pairs).T + np.array([[1], [1]])
    _, _, p_value = compare_counts(*table)
    assert compare_counts(*table[:, ::-1])[2] == pytest.approx(p_value)
    assert 0 < p_value <= 1 + 1e-12


@settings(max_examples=100, deadline=None, derandomize=True)
@given(P_VALUES)
def test_adjusted_p_values_keep_their_order_and_their_places(p_values):
    bh, adjusted = benjamini_hochberg(p_values), holm(p_values)
    assert np.all(p_values <= bh * (1 + 1e-12))
    assert np.all(bh <= adjusted * (1 + 1e-12))
    assert np.all(np.diff(bh[np.argsort(p_values)]) >= -1e-15)
    assert simes(p_values) == pytest.approx(bh.min())
    assert simes(p_values) <= min(1.0, p_values.min() * len(p_values)) * (1 + 1e-12)


def test_exact_ks_p_values_are_valid_under_no_drift():
    generator = np.random.default_rng(5)
    _, p_value = ks_two_sample(generator.normal(size=(26, 20_000)), generator.normal(size=(12, 20_000)))
    for level in (0.01, 0.05, 0.2):
        assert (p_value <= level).mean() <= level + 3 * np.sqrt(level / 20_000)


@pytest.mark.long
@pytest.mark.parametrize("correlation", [0.5, 0.95])
def test_four_hundred_clean_nights_raise_no_more_false_alarms_than_the_rate(correlation):
    generator = np.random.default_rng(2026)
    alarms = 0
    for _ in range(400):
        night = cases_of_a_night(generator, n_features=200, correlation=correlation)
        alarms += any(row.verdict is Verdict.DRIFT for row in look(night).health)
    assert alarms / 400 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


@pytest.mark.long
def test_a_gain_like_shift_is_seen_in_its_center_and_raises_no_more_false_alarms_elsewhere():
    # 6 dB of a 60 dB display are 25 of 255 grey levels; between patients the mean grey level varies by about 15.
    generator = np.random.default_rng(7)
    seen = elsewhere = 0
    for _ in range(100):
        verdicts = {
            row.center: row.verdict
            for row in look(cases_of_a_night(generator, n_features=200, shift={"C3": 25 / 15})).health
        }
        seen += verdicts.pop("C3") is Verdict.DRIFT
        elsewhere += Verdict.DRIFT in verdicts.values()
    assert seen >= 95
    assert elsewhere / 100 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 100)
