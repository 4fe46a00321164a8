"""Nights well-formed file by file, and wrong: the shipped suites hold that center's batch, and nobody else's."""

import json
import shutil
from datetime import UTC, datetime, time

import duckdb
import pytest

from clnm.pipeline.check import decide, held_batches
from clnm.simulate import simulate_archive
from clnm.simulate.arrivals import date_back, deliver, read_arrivals
from clnm.simulate.spoil import Night, Spoil, spoil
from tests.flows.growing import begin, one_worker, take_in

pytestmark = pytest.mark.long

NOW = datetime.combine(datetime.now(UTC).date(), time(), tzinfo=UTC)
HISTORY, NEW = 100, 60
NIGHTS = (
    {
        Spoil.OUTCOME_ONE_WORD: ("C1", "outcomes", "same_answer_chance"),
        Spoil.TWIN: ("C2", "rois", "other_patients"),
        Spoil.SATURATED: ("C3", "rois", "saturated_chance"),
    },
    {
        Spoil.EMPTY_COLUMN: ("C1", "clinical", "one_value_chance"),
        Spoil.SIZE_IN_CM: ("C2", "clinical", "beyond_chance"),
        Spoil.BLANK: ("C4", "rois", "blank_chance"),
    },
    {
        Spoil.SPACING_TENFOLD: ("C1", "images", "depth_mm"),
        Spoil.MASK_BOX: ("C3", "rois", "image_fraction"),
        Spoil.FOREIGN: ("C4", "images", "other_patients"),
    },
    {
        Spoil.SPACING_TENTH: ("C2", "images", "spacing_x_mm"),
        Spoil.FUTURE: ("C3", "images", "days_ahead"),
        Spoil.MASK_REPEATED: ("C4", "rois", "repeated_mask_chance"),
    },
)
"""Which center is spoiled in a night, and the relation and column of the expectation that must hold it."""
KINDS = [(number, kind) for number, kinds in enumerate(NIGHTS) for kind in kinds]
CENTERS = {"C1", "C2", "C3", "C4"}


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """An installation with a first night published, and what will arrive on the second."""
    folder = tmp_path_factory.mktemp("grown")
    simulate_archive(folder / "simulated", patients=HISTORY + NEW, seed=5, until=NOW, workers=2)
    arrivals = read_arrivals(folder / "simulated")
    with one_worker() as scheduler:
        config = begin(folder / "simulated", folder / "first", arrivals[:HISTORY], now=NOW, scheduler=scheduler)
        assert take_in(config)[0] == 0
        yield folder, arrivals


def second_night(grown, directory, spoiled):
    """A copy of the installation with the new arrivals, spoiled; what came of it, and where it lies."""
    folder, arrivals = grown
    shutil.copytree(folder / "first", directory)
    before = published(directory)
    deliver(folder / "simulated", directory, arrivals, now=NOW)
    for kind, (center, _, _) in spoiled.items():
        mine = [arrival for arrival in arrivals[HISTORY:] if arrival.center.name == center]
        spoil(Night(directory, mine, arrivals[:HISTORY]), kind)
    date_back(directory / "archives", NOW)
    code, counts = take_in(directory / "clnm.toml")
    return code, counts, before, published(directory), held_batches(directory / "clnm.toml"), directory


def published(directory):
    with duckdb.connect(str(directory / "store" / "catalog.duckdb"), read_only=True) as connection:
        return dict(connection.execute("SELECT center, count(*) FROM images GROUP BY center").fetchall())


@pytest.fixture(scope="module")
def nights(grown, tmp_path_factory):
    """What came of each spoiled night."""
    return [second_night(grown, tmp_path_factory.mktemp("night") / "second", spoiled) for spoiled in NIGHTS]


def test_twelve_kinds_are_planted():
    assert {kind for _, kind in KINDS} == set(Spoil)
    assert len(KINDS) == 12


@pytest.mark.parametrize(("number", "kind"), KINDS, ids=str)
def test_what_is_spoiled_is_held_by_its_expectation(nights, number, kind):
    center, relation, column = NIGHTS[number][kind]
    code, counts, before, after, held, _ = nights[number]
    assert code == 12
    assert counts["ingest"][center]["quarantined"] == 0  # each file is well-formed: intake has nothing against it
    assert after[center] == before[center]
    wanted = (center, relation, f"expect_column_values_to_be_between({column})")
    found = [row for row in held if (row["center"], row["relation"], row["expectation"]) == wanted]
    assert len(found) == 1, held
    assert found[0]["rows"] > 0
    assert json.loads(found[0]["observed"])["unexpected_count"] > 0
    assert len(found[0]["reason"]) > 20


@pytest.mark.parametrize("number", range(len(NIGHTS)))
def test_nobody_else_is_held(nights, number):
    spoiled = {center for center, _, _ in NIGHTS[number].values()}
    _, counts, before, after, held, _ = nights[number]
    assert {row["center"] for row in held} == spoiled
    for center in CENTERS - spoiled:
        assert counts["check"][center]["verdict"] == "publish"
        assert after[center] > before[center]


def test_a_lost_column_is_named(nights):
    finding = next(row for row in nights[1][4] if row["expectation"].endswith("(one_value_chance)"))
    assert json.loads(finding["observed"])["variable"] == ["tumor_shape"]


def test_the_same_night_unspoiled_is_published(grown, tmp_path):
    code, counts, before, after, held, _ = second_night(grown, tmp_path / "second", {})
    assert held == []
    assert code == 0
    assert {count["verdict"] for count in counts["check"].values()} == {"publish"}
    assert sum(after.values()) == sum(before.values()) + NEW


@pytest.mark.parametrize("release", [True, False])
def test_who_decided_on_a_held_batch_and_why_is_recorded(nights, tmp_path, release):
    shutil.copytree(nights[0][5], tmp_path / "decided")
    config = tmp_path / "decided" / "clnm.toml"
    before = published(tmp_path / "decided")["C2"]
    rows = decide(config, "C2", release=release, who="dm", why="looked at both")["rows"]
    assert rows > 0
    assert "C2" not in {row["center"] for row in held_batches(config)}
    assert (published(tmp_path / "decided")["C2"] > before) is release
    with duckdb.connect(str(tmp_path / "decided" / "store" / "catalog.duckdb"), read_only=True) as connection:
        question = "SELECT relation, center, observed, reason FROM check_results WHERE expectation LIKE '% by hand'"
        assert connection.execute(question).fetchall() == [("all", "C2", f"{rows} staged rows", "dm: looked at both")]
