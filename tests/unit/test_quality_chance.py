"""The chance of a batch's counts given its center's history: exact, so that few rows never prove anything."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clnm.quality.chance import add_chances, chance_of_number, chance_of_share


def array(*numbers):
    return np.array(numbers, dtype=np.float64)


def test_fishers_tea_as_worked_in_his_book():
    """Three of four cups right, or all four: (16 + 1) / 70."""
    assert chance_of_share(array(3), array(4), array(1), array(4))[0] == pytest.approx(17 / 70)


def test_ten_where_two_are_expected_as_summed_by_hand():
    tail = 1 - sum(math.exp(-2) * 2**k / math.factorial(k) for k in range(10))
    assert chance_of_number(array(10), array(2))[0] == pytest.approx(tail)


def test_without_history_nothing_is_unlikely():
    assert chance_of_share(array(5), array(5), array(0), array(0))[0] == 1


def test_three_rows_against_twenty_are_never_one_in_a_million():
    assert chance_of_share(array(3), array(3), array(0), array(20))[0] > 5e-4


def test_a_count_that_is_not_there_has_no_chance():
    frame = pd.DataFrame(
        {"x_count": [None, 3.0], "x_of": [5, 5], "x_count_before": [1, 1], "x_of_before": [9, 9], "y_count": [1, 2]}
    )
    found = add_chances(frame)
    assert np.isnan(found["x_chance"][0])
    assert 0 < found["x_chance"][1] < 1
    assert "y_chance" not in found


@given(st.integers(1, 40), st.integers(0, 40), st.floats(0, 1), st.floats(0, 1))
def test_a_share_has_the_chance_that_counting_every_draw_gives(of, of_before, share, share_before):
    count, before = round(share * of), round(share_before * of_before)
    marked, rows = count + before, of + of_before
    draws = sum(math.comb(marked, k) * math.comb(rows - marked, of - k) for k in range(count, min(of, marked) + 1))
    chance = chance_of_share(array(count), array(of), array(before), array(of_before))[0]
    assert chance == pytest.approx(draws / math.comb(rows, of), rel=1e-6)
