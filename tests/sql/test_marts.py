"""The marts' numbers, worked by hand from a few rows of two centers."""

import json
import math
from datetime import UTC, datetime, timedelta
from statistics import mean, median, variance

import pytest

from tests.store_rows import DAY_0, LINEAGE, answers, day, open_store, open_writer, stage_cases, table_of

FEATURE = "original_firstorder_Mean"
VALUES = {"C1": [1.0, 2.0, 4.0, 8.0, 16.0, 32.0], "C2": [3.0, 1.0, 2.0, 5.0, 4.0]}
POSITIVE = {"C1": {3, 4, 5}, "C2": {0, 1}}
PROBABILITY = {"C1": [0.1, 0.2, 0.3, 0.6, 0.7, 0.9], "C2": [0.5, 0.4, 0.2, 0.2]}
"""C2's last case has no score."""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Case `n` of a center was known on day 20 n, acquired the day before; C1 is a train center, C2 external."""
    store = open_store(tmp_path_factory.mktemp("marts"))
    with open_writer(store) as writer:
        for center, values in VALUES.items():
            with writer.commit(LINEAGE) as batch:
                for number, value in enumerate(values):
                    answer = number in POSITIVE[center]
                    stage_cases(batch, center, [number], day(20 * number), value=value, answer=answer)
        with writer.commit(LINEAGE) as batch:
            batch.publish("C1")
            batch.publish("C2")
            roles = [{"center": "C1", "role": "train"}, {"center": "C2", "role": "external"}]
            batch.append("centers", table_of("centers", roles))
            batch.append("scores", table_of("scores", list(scores())))
            batch.append("runs", table_of("runs", [run()]))
    return store


def scores():
    for center, probabilities in PROBABILITY.items():
        for number, probability in enumerate(probabilities):
            same = {
                "case_key": f"case-{center}-{number:04d}",
                "center": center,
                "model_version": "m1",
                "threshold": 0.5,
            }
            scored = {"status": "scored", "reason": "", "probability": probability, "prediction": probability >= 0.5}
            yield same | scored | {"probability": 0.99, "scored_at": day(1)}  # an earlier one, that counts no more
            yield same | scored | {"scored_at": day(200) if number else day(199)}
    yield {"case_key": "case-C2-0004", "center": "C2", "status": "unscored", "reason": "no_champion"} | {
        "probability": None,
        "prediction": None,
        "scored_at": day(200),
    }


def run():
    spent = {"ingest": 1500, "extract": 6000}
    return {"started_at": DAY_0, "finished_at": DAY_0 + timedelta(seconds=10), "stage_ms": json.dumps(spent)}


def test_calibration_is_told_per_center(store):
    asked = "SELECT center, role, n, n_events, mean_predicted, observed_fraction, observed_to_expected"
    found = answers(store, f"{asked} FROM calibration_by_center ORDER BY center")
    assert found == [
        ("C1", "train", 6, 3, pytest.approx(2.8 / 6), 0.5, pytest.approx(3 / 2.8)),
        ("C2", "external", 4, 2, pytest.approx(1.3 / 4), 0.5, pytest.approx(2 / 1.3)),
    ]


def test_external_predictions_are_the_latest_scores_of_external_cases_with_an_outcome(store):
    found = answers(store, "SELECT center, outcome, probability FROM external_predictions")
    assert found == [("C2", number in POSITIVE["C2"], p) for number, p in enumerate(PROBABILITY["C2"])]


@pytest.mark.parametrize("center", sorted(VALUES))
def test_separation_is_cohens_d_with_its_interval(store, center):
    question = f"FROM feature_separation WHERE feature = '{FEATURE}' AND center = '{center}'"
    [(_, _, n_positive, n_negative, found, low, high)] = answers(store, question)
    groups = [
        [value for number, value in enumerate(VALUES[center]) if (number in POSITIVE[center]) is wanted]
        for wanted in (True, False)
    ]
    ones, zeros = len(groups[0]), len(groups[1])
    pooled = ((ones - 1) * variance(groups[0]) + (zeros - 1) * variance(groups[1])) / (ones + zeros - 2)
    d = (mean(groups[0]) - mean(groups[1])) / math.sqrt(pooled)
    error = math.sqrt((ones + zeros) / (ones * zeros) + d**2 / (2 * (ones + zeros)))
    assert (n_positive, n_negative) == (ones, zeros)
    assert (found, low, high) == pytest.approx((d, d - 1.959964 * error, d + 1.959964 * error))


def test_a_feature_moves_by_month_of_acquisition(store):
    """Acquired on day 20 n - 1: on 31 December, 20 January, 9 and 29 February, 20 March and 9 April."""
    months = {}
    for number, value in enumerate(VALUES["C1"]):
        acquired = day(20 * number - 1)
        months.setdefault(datetime(acquired.year, acquired.month, 1, tzinfo=UTC), []).append(value)
    question = f"SELECT month, n, median FROM feature_by_month WHERE center = 'C1' AND feature = '{FEATURE}'"
    found = answers(store, f"{question} ORDER BY month")
    assert found == [(month, len(values), median(values)) for month, values in months.items()]
    assert [n for _, n, _ in found] == [1, 1, 2, 1, 1]


def test_the_nearest_cases_are_those_of_the_smallest_angle(store):
    """Case `n` of either center has the embedding (n + 1, 1)."""
    found = answers(store, "FROM nearest_cases('case-C1-0005') LIMIT 4")
    assert [case for case, _, _ in found] == ["case-C1-0004", "case-C2-0004", "case-C1-0003", "case-C2-0003"]
    cosine = (6 * 5 + 1) / math.sqrt((6**2 + 1) * (5**2 + 1))
    assert [distance for _, _, distance in found[:2]] == pytest.approx([1 - cosine] * 2, abs=1e-6)


def test_last_night_lists_who_was_scored_and_why_the_rest_was_not(store):
    question = "SELECT case_key, status, reason, probability FROM scored_last_night ORDER BY case_key"
    listed = [
        (f"case-{center}-{number:04d}", "scored", "", p)
        for center, probabilities in PROBABILITY.items()
        for number, p in enumerate(probabilities)
        if number
    ]
    assert answers(store, question) == [*listed, ("case-C2-0004", "unscored", "no_champion", None)]


def test_the_worklist_has_one_row_per_case(store):
    found = answers(store, "SELECT case_key, status, reason, probability FROM worklist ORDER BY case_key")
    assert len(found) == sum(len(values) for values in VALUES.values())
    assert found[0] == ("case-C1-0000", "scored", "", 0.1)
    assert found[-1] == ("case-C2-0004", "unscored", "no_champion", None)


def test_what_a_run_cost_is_told_by_stage(store):
    assert answers(store, "SELECT duration_ms FROM run_costs") == [(10_000,)]
    found = answers(store, "SELECT stage, duration_ms, fraction FROM stage_costs ORDER BY stage")
    assert found == [("extract", 6000, 0.6), ("ingest", 1500, 0.15)]
