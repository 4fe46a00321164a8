"""The macros of the two clocks against brute force: what was known at t, and of two answers the later commit's."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from clnm.store.tables import TABLES
from tests.store_rows import DAY_0, LINEAGE, day, open_store, open_writer, table_of

ROWS, COMMITS, MOMENTS = 25_000, 4, 9
"""Rows of each relation, the commits they come in, and the moments they became known at: 125,000 rows, full of ties."""
PATIENTS, ROIS = 1_500, 4_000
ASKED = [DAY_0 - timedelta(days=1), *(day(number) for number in (0, 3, MOMENTS - 1)), day(3) + timedelta(hours=1)]
LONG_AGO = DAY_0 - timedelta(days=9999)


def random_rows(seed):
    """Rows by relation and commit. No two rows of one commit are alike in everything that orders them."""
    generator = np.random.default_rng(seed)

    def draw(high):
        return generator.integers(0, high, ROWS).tolist()

    known, acquired = draw(MOMENTS), generator.permutation(ROWS).tolist()
    times = [
        {"known_at": day(k), "acquired_at": LONG_AGO + timedelta(seconds=a)}
        for k, a in zip(known, acquired, strict=True)
    ]
    rois = [
        {
            "roi_key": f"r{roi:05d}",
            "patient_key": f"p{roi % PATIENTS:05d}",
            "study_key": f"s{roi % (2 * PATIENTS):05d}",
            "case_key": f"c{roi % (2 * PATIENTS):05d}",
            "reader": f"reader{reader}",
            "area_px": area,
            "mask_sha256": f"{number:06d}",
            **moment,
        }
        for number, (roi, reader, area, moment) in enumerate(zip(draw(ROIS), draw(3), draw(5), times, strict=True))
    ]
    answers = [
        {
            "patient_key": f"p{patient:05d}",
            "study_key": None if is_of_patient else f"s{patient + PATIENTS * second:05d}",
            "value": bool(value),
            "age": float(number),
            "edge": "clear",
            **moment,
        }
        for number, (patient, is_of_patient, second, value, moment) in enumerate(
            zip(draw(PATIENTS + 50), draw(2), draw(2), draw(2), times, strict=True)
        )
    ]
    features = [
        {
            "roi_key": f"r{roi:05d}",
            "feature_set_version": f"v{version}",
            "computed_at": DAY_0 + timedelta(seconds=number),
            "mean": float(number),
            **moment,
        }
        for number, (roi, version, moment) in enumerate(zip(draw(ROIS), draw(2), times, strict=True))
    ]
    embeddings = [row | {"embedding": [row["mean"], 1.0]} for row in features[::-1]]
    return {
        "rois": rois,
        "clinical": answers,
        "outcomes": answers[::-1],
        "radiomics": features,
        "deep": [{name: row[name] for name in row if name != "mean"} for row in embeddings],
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The rows in a store, four commits of each relation, and the same rows with their commit for the oracle."""
    store = open_store(tmp_path_factory.mktemp("clocks"))
    rows = random_rows(20260101)
    more = {"clinical": {"age": pa.float64(), "edge": pa.string()}, "radiomics": {"mean": pa.float64()}}
    with open_writer(store) as writer:
        for number in range(COMMITS):
            with writer.commit(LINEAGE) as batch:
                for relation, content in rows.items():
                    part = [row | {"center": "C1"} for row in content[number::COMMITS]]
                    batch.stage(relation, "C1", table_of(relation, part, **more.get(relation, {})))
            with writer.commit(replace(LINEAGE, run_id=f"run-{number}")) as batch:
                batch.publish("C1")
                if number == 0:
                    batch.append("centers", table_of("centers", [{"center": "C1", "role": "train"}]))
    with_commit = {
        relation: [row | {"commit": index % COMMITS} for index, row in enumerate(content)]
        for relation, content in rows.items()
    }
    return store, with_commit


def latest(rows, key, order, as_of):
    """By brute force: for each key the row that comes last in `order`, of those known at `as_of`."""
    found = {}
    for row in rows:
        if row["known_at"] <= as_of:
            name = key(row)
            if name not in found or order(found[name]) < order(row):
                found[name] = row
    return found


def in_time(row):
    return row["known_at"], row["commit"], row["acquired_at"]


def cases_by_brute_force(rows, as_of):
    rois = latest(
        rows["rois"],
        lambda row: row["roi_key"],
        lambda row: (row["known_at"], row["commit"], row["mask_sha256"]),
        as_of,
    )
    by_key = {
        relation: latest(rows[relation], lambda row: (row["patient_key"], row["study_key"]), in_time, as_of)
        for relation in ("clinical", "outcomes")
    }
    chosen = {}
    for roi in sorted(rois.values(), key=lambda row: (row["reader"], -row["area_px"], row["roi_key"])):
        chosen.setdefault(roi["case_key"], roi)
    for case, roi in chosen.items():
        patient, study = roi["patient_key"], roi["study_key"]
        spoken = [known.get((patient, study)) or known.get((patient, None)) for known in by_key.values()]
        moments = [roi["known_at"], *(row["known_at"] for row in spoken if row)]
        age, value = (row and row[name] for row, name in zip(spoken, ("age", "value"), strict=True))
        yield case, roi["roi_key"], roi["acquired_at"], age, value, max(moments)


@pytest.mark.parametrize("as_of", ASKED, ids=str)
def test_cases_as_of_are_those_of_brute_force(written, as_of):
    store, rows = written
    question = (
        "SELECT case_key, roi_key, acquired_at, age, clnm, known_at FROM cases_as_of(TIMESTAMPTZ '{}') ORDER BY ALL"
    )
    found = [tuple(row.values()) for row in store.ask(question.format(as_of.isoformat())).to_pylist()]
    assert found == sorted(cases_by_brute_force(rows, as_of))
    assert (len(found) > 1000) == (as_of >= DAY_0)


def vectors_by_brute_force(rows, as_of):
    """By ROI: the latest row of the feature set that was computed last."""
    known = [row for row in rows if row["known_at"] <= as_of]
    newest = max(((row["commit"], row["computed_at"], row["feature_set_version"]) for row in known), default=(0, 0, ""))
    of_set = [row for row in known if row["feature_set_version"] == newest[2]]
    return latest(
        of_set, lambda row: row["roi_key"], lambda row: (row["known_at"], row["commit"], row["computed_at"]), as_of
    )


@pytest.mark.parametrize("as_of", ASKED, ids=str)
@pytest.mark.parametrize(
    ("macro", "relation", "column"),
    [("features_as_of", "radiomics", "mean"), ("embeddings_as_of", "deep", "embedding")],
    ids=["features", "embeddings"],
)
def test_features_and_embeddings_as_of_are_those_of_brute_force(written, macro, relation, column, as_of):
    store, rows = written
    question = f"SELECT roi_key, {column}, known_at FROM {macro}(TIMESTAMPTZ '{as_of.isoformat()}') ORDER BY ALL"
    found = [tuple(row.values()) for row in store.ask(question).to_pylist()]
    wanted = vectors_by_brute_force(rows[relation], as_of).values()
    assert found == sorted((row["roi_key"], row[column], row["known_at"]) for row in wanted)
    assert (len(found) > 1000) == (as_of >= DAY_0)


@pytest.mark.parametrize("as_of", ASKED, ids=str)
def test_the_training_frame_is_that_of_brute_force(written, as_of):
    store, rows = written
    question = f"SELECT case_key, roi_key, age, clnm, mean, embedding FROM training_frame(TIMESTAMPTZ '{as_of}')"
    found = [tuple(row.values()) for row in store.ask(f"{question} ORDER BY case_key").to_pylist()]
    features = vectors_by_brute_force(rows["radiomics"], as_of)
    embeddings = vectors_by_brute_force(rows["deep"], as_of)
    wanted = [
        (case, roi, age, outcome, features.get(roi, {}).get("mean"), embeddings.get(roi, {}).get("embedding"))
        for case, roi, _, age, outcome, _ in cases_by_brute_force(rows, as_of)
        if outcome is not None
    ]
    assert found == sorted(wanted, key=lambda row: row[0])
    assert (len(found) > 500) == (as_of >= DAY_0)


def test_what_is_known_now_is_what_is_known_at_the_end_of_time(written):
    store, rows = written
    found = [
        tuple(row.values()) for row in store.ask("SELECT case_key, roi_key, age FROM cases ORDER BY ALL").to_pylist()
    ]
    assert found == sorted(row[:2] + row[3:4] for row in cases_by_brute_force(rows, day(9999)))


@pytest.mark.parametrize(
    ("relation", "macro", "key"),
    [
        ("cases", "cases_as_of", "case_key"),
        ("radiomics", "features_as_of", "roi_key"),
        ("deep", "embeddings_as_of", "roi_key"),
    ],
)
def test_asking_as_of_t_and_the_macro_of_t_agree(written, relation, macro, key):
    store, _ = written
    by_macro = store.ask(f"FROM {macro}(TIMESTAMPTZ '{day(4)}') ORDER BY {key}")
    asked = store.ask(f"FROM {relation} ORDER BY {key}", as_of=day(4))
    assert asked.to_pylist() == by_macro.to_pylist()
    assert asked.num_rows > 1000


@pytest.mark.parametrize("relation", ["rois", "clinical", "outcomes"])
def test_every_relation_as_of_t_is_that_of_brute_force(written, relation):
    store, rows = written
    keys = ("roi_key",) if relation == "rois" else ("patient_key", "study_key")
    order = (lambda row: (row["known_at"], row["commit"], row["mask_sha256"])) if relation == "rois" else in_time
    wanted = latest(rows[relation], lambda row: tuple(row[name] for name in keys), order, day(4))
    listed = ", ".join((*keys, "known_at", "acquired_at"))
    found = [tuple(row.values()) for row in store.ask(f"SELECT {listed} FROM {relation}", as_of=day(4)).to_pylist()]
    by_hand = [(*key, row["known_at"], row["acquired_at"]) for key, row in wanted.items()]
    assert sorted(found, key=str) == sorted(by_hand, key=str)


def test_every_row_of_every_commit_is_kept(written):
    """A correction is one more row: nothing is overwritten."""
    store, _ = written
    counts = {
        relation: sum(1 for _ in store.manifest().tables[relation].all_files()) for relation in ("rois", "outcomes")
    }
    assert counts == {"rois": COMMITS, "outcomes": COMMITS}
    for relation in ("rois", "clinical", "outcomes", "radiomics"):
        [row] = store.ask(
            f"SELECT count(*) AS n, count(DISTINCT commit_seq) AS commits FROM raw_{relation}"
        ).to_pylist()
        assert row == {"n": ROWS, "commits": COMMITS}


@pytest.mark.parametrize("is_turned", [False, True])
def test_rows_alike_in_key_time_and_commit_have_one_answer_whatever_their_order(tmp_path, is_turned):
    """One table with the same patient twice: 2,000 pairs that differ in nothing but what they say."""
    pairs = [
        {"patient_key": f"p{number}", "study_key": None, "center": "C1", "known_at": day(0), "value": value, "age": age}
        for number in range(2000)
        for value, age in ((True, 40.0), (False, 50.0))
    ]
    rois = [
        {
            "roi_key": f"r{n}",
            "case_key": f"c{n}",
            "patient_key": f"p{n}",
            "center": "C1",
            "mask_sha256": sha,
            "area_px": px,
        }
        for n in range(2000)
        for sha, px in (("a", 10), ("b", 20))
    ]
    order = -1 if is_turned else 1
    store = open_store(tmp_path)
    with open_writer(store) as writer, writer.commit(LINEAGE) as batch:
        batch.stage("rois", "C1", table_of("rois", rois[::order]))
        batch.stage("outcomes", "C1", table_of("outcomes", pairs[::order]))
        batch.stage("clinical", "C1", table_of("clinical", pairs[::order], age=pa.float64()))
    with open_writer(store) as writer, writer.commit(LINEAGE) as batch:
        batch.publish("C1")
    question = "SELECT DISTINCT clnm, age FROM cases UNION ALL SELECT DISTINCT value, NULL FROM outcomes"
    assert store.ask(f"FROM ({question}) ORDER BY ALL").to_pylist() == [
        {"clnm": True, "age": 50.0},
        {"clnm": True, "age": None},
    ]
    assert store.ask("SELECT DISTINCT area_px FROM rois").to_pylist() == [{"area_px": 20}]


def test_every_relation_with_facts_has_both_clocks():
    facts = ("images", "rois", "clinical", "outcomes", "radiomics", "deep")
    for relation in facts:
        assert {"acquired_at", "known_at"} <= {column.name for column in TABLES[relation].columns}
