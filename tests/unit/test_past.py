"""A run that looks back sees the scores and the model of then, and nothing that came later."""

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
