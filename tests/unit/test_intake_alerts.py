"""A center's intake alert: held, too much set aside, or silent for longer than it ever was."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from clnm.drift.intake import CenterIntake, complaint
from clnm.errors import BatchHeldError
from clnm.pipeline.check import decide
from clnm.pipeline.installation import open_installation
from clnm.pipeline.run import open_run
from clnm.pipeline.setting_up import write_installation
from clnm.pipeline.stages import CHECK, WATCH, perform_all
from tests.store_rows import LINEAGE, open_store, open_writer, stage_cases, write_night

WELL = {"center": "C1", "files": 100, "quarantined": 5, "pauses": 20, "longest_days": 3.0, "days_since": 9.0}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, None),
        ({"is_held": True}, "C1: the gate holds its batch, see `clnm check show`"),
        ({"quarantined": 6}, "C1: 6 of 100 files are quarantined, more than 5%"),
        ({"days_since": 9.1}, "C1: no new image for 9 days, where the longest of 20 pauses was 3"),
        ({"days_since": 9.1, "is_held": True}, "C1: the gate holds its batch, see `clnm check show`"),
        ({"days_since": 900.0, "pauses": 6}, None),
        ({"days_since": 1.9, "longest_days": 0.2}, None),
        ({"days_since": None, "longest_days": None, "pauses": 0}, None),
        ({"files": 0, "quarantined": 0}, None),
    ],
    ids=str,
)
def test_what_is_wrong_is_one_sentence(change, told):
    assert complaint(CenterIntake(**{"is_held": False} | WELL | change), 0.05) == told


@pytest.mark.parametrize("n", [7, 20])
def test_a_pause_thrice_the_longest_is_as_rare_as_said(n):
    generator = np.random.default_rng(n)
    pauses = generator.exponential(size=(400_000, n + 1))
    share = np.mean(pauses[:, -1] > 3 * pauses[:, :-1].max(axis=1))
    assert share == pytest.approx(6 / ((n + 1) * (n + 2) * (n + 3)), rel=0.2)


@pytest.fixture
def config(tmp_path):
    """Ten nights with images, a day apart, the last of them six days ago."""
    write_installation(tmp_path)
    store = open_store(tmp_path / "store")
    for number in range(10):
        known_at = datetime.now(UTC) - timedelta(days=15 - number)
        write_night(store, [number], known_at=known_at, run_id=f"run-{number}")
    store.close()
    return tmp_path / "clnm.toml"


def alerts_after(config, *stages):
    """What is open once the stages were performed."""
    try:
        with open_run(config, command="nightly") as run:
            perform_all(run, stages)
    except BatchHeldError:
        pass
    return [(row["kind"], row["message"]) for row in open_installation(config).store.run_query("open_alerts")]


def test_a_center_that_fell_silent_is_told_until_images_come_again(config):
    silent = "C1: no new image for 6 days, where the longest of 9 pauses was 1"
    assert alerts_after(config, WATCH) == [("intake", silent)]
    write_night(open_store(config.parent / "store"), [77], known_at=datetime.now(UTC), run_id="run-again")
    assert alerts_after(config, WATCH) == []


def test_a_batch_that_the_gate_holds_is_told_until_it_is_dropped(config):
    store = open_store(config.parent / "store")
    with open_writer(store, "run-held") as writer, writer.commit(LINEAGE) as batch:
        stage_cases(batch, "C1", [50], datetime.now(UTC) + timedelta(days=400))
    assert alerts_after(config, CHECK, WATCH) == [("intake", "C1: the gate holds its batch, see `clnm check show`")]
    decide(config, "C1", release=False, who="dm", why="a clock was wrong")
    assert [kind for kind, message in alerts_after(config, WATCH) if "holds" in message] == []
