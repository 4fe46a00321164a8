"""A run that looks back sees the scores and the model of then, and nothing that came later."""

import numpy as np
import pytest

from tests.store_rows import LINEAGE, day, open_store, open_writer, table_of, write_night


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path / "store")
    write_night(store, [0])
    return store


def append(store, relation, **values):
    with open_writer(store, "run-2") as writer, writer.commit(LINEAGE) as batch:
        batch.append(relation, table_of(relation, [values]))


def score(store, moment, probability):
    append(store, "scores", case_key="case-C1-0000", center="C1", scored_at=moment, probability=probability)


def seen(store, moment):
    return store.case_frame(moment)["probability"].dropna().tolist()


def test_a_frame_holds_the_score_of_then_and_not_a_later_one(store):
    score(store, day(30), 0.9)
    assert seen(store, day(2)) == []
    score(store, day(1), 0.4)  # a run that looked back, written after the other
    assert seen(store, day(2)) == [0.4]
    assert seen(store, day(30)) == [0.9]
    [latest] = store.run_query("latest_scores", as_of=day(2))
    assert latest["case_key"] == "case-C1-0000"


def test_looking_back_leaves_the_present_score_the_latest(store):
    score(store, day(30), 0.9)
    score(store, day(1), 0.4)
    assert store.ask("SELECT probability FROM scores WHERE is_latest").to_pylist() == [{"probability": 0.9}]
    assert store.ask("SELECT probability FROM worklist").to_pylist() == [{"probability": 0.9}]


def test_the_champion_of_then_had_learned_from_nothing_later(store):
    for version, trained_as_of, status in (
        ("early", day(5), "champion"),
        ("early", day(5), "retired"),
        ("late", day(20), "champion"),
    ):
        append(store, "model_versions", model_version=version, training_as_of=trained_as_of, status=status)
    then = {
        number: [row["model_version"] for row in store.run_query("champion_then", as_of=day(number))]
        for number in (4, 5, 19, 20)
    }
    assert then == {4: [], 5: ["early"], 19: ["early"], 20: ["late"]}


def test_the_models_that_learned_from_a_patient_are_told_exactly(store):
    """The case was known on day 0, its answer is corrected on day 15; another patient comes on day 10."""
    write_night(store, [1], known_at=day(10), run_id="run-3")
    write_night(store, [2], center="C2", known_at=day(0), run_id="run-4")
    append(store, "centers", center="C2", role="external", known_at=day(11))
    for number in (-1, 0, 9, 10, 20):
        version = f"{number:02}"
        days = {"training_as_of": day(number), "trained_at": day(number + 1)}
        append(store, "model_versions", model_version=version, status="challenger", **days)
    with open_writer(store, "run-5") as writer, writer.commit(LINEAGE) as batch:
        correction = {"patient_key": "patient-C1-0000", "study_key": "study-C1-0000", "center": "C1"}
        batch.stage("outcomes", "C1", table_of("outcomes", [correction | {"known_at": day(15), "value": False}]))
    with open_writer(store, "run-5") as writer, writer.commit(LINEAGE) as batch:
        batch.publish("C1")

    def trained_on(patient):
        return [row["model_version"] for row in store.run_query("models_trained_on", patient_key=patient)]

    assert trained_on("patient-C1-0000") == ["00", "09", "10", "20"]
    assert trained_on("patient-C1-0001") == ["10", "20"]
    assert trained_on("patient-C2-0002") == ["00", "09"]  # those of before its center was external
    assert trained_on("nobody") == []


def test_scores_as_of_are_those_of_brute_force(store):
    """3,000 scores of 300 cases at 20 moments, in three commits; of two at one moment the later commit's counts."""
    generator = np.random.default_rng(8)
    written = []
    for commit in range(3):
        rows = [
            {
                "case_key": f"case-{case}",
                "center": "C1",
                "scored_at": day(moment),
                "probability": float(1000 * commit + place),
            }
            for place, (case, moment) in enumerate(
                sorted({(int(c), int(m)) for c, m in generator.integers(0, (300, 20), (1000, 2))})
            )
        ]
        with open_writer(store, f"run-{commit}") as writer, writer.commit(LINEAGE) as batch:
            batch.append("scores", table_of("scores", rows))
        written += [(row["case_key"], row["scored_at"], commit, row["probability"]) for row in rows]
    for moment in (-1, 0, 7, 19):
        latest = {}
        for case, scored_at, commit, probability in written:
            if scored_at <= day(moment):
                latest[case] = max(latest.get(case, (day(-9), 0, 0.0)), (scored_at, commit, probability))
        asked = f"SELECT case_key, probability FROM scores_as_of(TIMESTAMPTZ '{day(moment)}') ORDER BY case_key"
        found = [(row["case_key"], row["probability"]) for row in store.ask(asked).to_pylist()]
        assert found == sorted((case, probability) for case, (_, _, probability) in latest.items())
    assert len(found) > 250
