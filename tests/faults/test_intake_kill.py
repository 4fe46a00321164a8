"""`clnm ingest` killed with kill -9 and started again ends where an uninterrupted one ends."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clnm import pipeline
from clnm.imaging import cache
from clnm.pipeline.installation import open_installation
from clnm.settings import make_pseudonym_key
from clnm.store.manifest import read_manifest
from tests.unit.intake_archives import blob, dicom, pixels, png, put
from tests.watching import files_now

pytestmark = pytest.mark.long

IMAGES = 40
PER_RUN = {"known_at", "first_seen_at", "last_seen_at", "run_id", "code_version", "config_hash"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    directory = tmp_path_factory.mktemp("hospital")
    files = {f"{number % 7}/i{number}.dcm": dicom(number, array=pixels(number, (240, 320))) for number in range(IMAGES)}
    mask = png(blob((240, 320), top=60, left=80, height=70, width=90))
    files |= {f"{number % 7}/i{number}_mask.png": mask for number in range(IMAGES)}
    files |= {"0/copy.dcm": dicom(0, array=pixels(0, (240, 320))), "empty.dcm": b"", "readme.txt": b"x"}
    put(directory / "archive", files)
    for path in (directory / "archive").rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    lines = "".join(f"P{number},{number},{number % 2}\n" for number in range(IMAGES))
    put(directory, {"clinical.csv": "patient,age,clnm\n" + lines})
    make_pseudonym_key(directory / "key")
    return directory


def installation(archive, directory):
    """A new, empty store over the one archive, with the one key."""
    directory.mkdir()
    config = directory / "clnm.toml"
    config.write_text(
        f"""
[pseudonyms]
key_file = "{archive}/key"
[[center]]
name = "C1"
role = "train"
archive = ["{archive}/archive"]
clinical = "{archive}/clinical.csv"
[clinical]
age = {{ type = "number" }}
[deep]
enabled = false
[compute]
workers = 1
""",
        encoding="utf-8",
    )
    return config


def contents(config):
    """What the store holds after all, the clocks and run ids aside: rows of the tables, bytes of the pixel cache."""
    opened = open_installation(config)
    found = {}
    for relation in ("files", "quarantine", "images", "rois", "clinical", "outcomes"):
        connection = opened.store._connection(relation, with_staged=True)
        rows = connection.sql(f"FROM {relation}").to_arrow_table().to_pylist()
        kept = [sorted((name, str(value)) for name, value in row.items() if name not in PER_RUN) for row in rows]
        found[relation] = sorted(kept)
    opened.store.close()
    found["pixels"] = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in opened.pixels.rglob("*.npy")}
    return found


@pytest.fixture(scope="module")
def uninterrupted(archive, tmp_path_factory):
    config = installation(archive, tmp_path_factory.mktemp("whole") / "project")
    pipeline.run_stage(config, "ingest")
    return contents(config)


def ledgers_of_other_runs(config):
    """What lies beside the ledger of the last run: keys that nobody would find when a patient is to be forgotten."""
    root = config.parent / "store"
    [path] = [root / path for name, path in read_manifest(root).kept.items() if name.startswith("ledger/")]
    of_the_last = path.stem.rpartition("-")[0]
    return [other.name for other in path.parent.iterdir() if not other.name.startswith(of_the_last)]


def ingest_in_a_process(config):
    code = "from clnm.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "--config", str(config), "ingest"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def count(config, pattern):
    return len(files_now(config.parent / "store", pattern))


INSTANTS = {
    "the lock is taken": lambda config: count(config, "lock"),
    "half of the images wait": lambda config: count(config, "private/pixels/*/accepted/*.npy") >= IMAGES // 2,
    "masks wait": lambda config: count(config, "private/pixels/*/accepted/*.npy") > IMAGES + 5,
    "the ledger is being written": lambda config: count(config, "private/ledger/*"),
    "rows are staged": lambda config: count(config, "staging/*/*"),
    "pixels come to their place": lambda config: count(config, "private/pixels/??/*.npy"),
}


def test_an_uninterrupted_run_holds_what_was_planted(uninterrupted):
    assert {relation: len(rows) for relation, rows in uninterrupted.items()} == {
        "files": 2 * IMAGES + 3,
        "quarantine": 1,  # the empty file; the copy stands before its original, whose mask finds it all the same
        "images": IMAGES,
        "rois": IMAGES,
        "clinical": IMAGES,
        "outcomes": IMAGES,
        "pixels": 2 * IMAGES,
    }


@pytest.mark.parametrize("instant", INSTANTS)
def test_killed_when_and_run_again_the_tables_equal_an_uninterrupted_runs(archive, uninterrupted, tmp_path, instant):
    config = installation(archive, tmp_path / "project")
    process = ingest_in_a_process(config)
    wait_for(config, process, instant)
    process.send_signal(signal.SIGKILL)
    assert process.wait() in {-signal.SIGKILL, 0}
    pipeline.run_stage(config, "ingest")
    assert contents(config) == uninterrupted
    assert list((config.parent / "store" / "private").rglob("*.scratch")) == []
    assert ledgers_of_other_runs(config) == []


def test_pixels_of_a_run_killed_just_after_its_commit_are_put_in_their_place_by_any_other(
    archive, uninterrupted, tmp_path
):
    config = installation(archive, tmp_path / "project")
    pipeline.run_stage(config, "ingest")
    opened = open_installation(config)
    ledger = Path(opened.store.kept("ledger/C1"))
    room = cache.new_room(opened.pixels, ledger.stem)
    for path in opened.pixels.glob("??/*.npy"):
        path.rename(room / "accepted" / path.name)
    cache.write_image(cache.new_room(opened.pixels, "C1-of-a-killed-run-0"), "file_key", pixels(1))
    with pipeline.open_run(config, command="any"):
        pass
    assert contents(config) == uninterrupted


@pytest.fixture(scope="module")
def busy_seconds(archive, tmp_path_factory):
    """How long an ingest of its own process works after it took the lock."""
    config = installation(archive, tmp_path_factory.mktemp("timed") / "project")
    process = ingest_in_a_process(config)
    wait_for(config, process, "the lock is taken")
    start = time.monotonic()
    assert process.wait() == 0
    return time.monotonic() - start


def wait_for(config, process, instant):
    give_up = time.monotonic() + 60
    while not INSTANTS[instant](config) and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.0005)
    assert INSTANTS[instant](config), "the instant never came"


@pytest.mark.parametrize("number", range(20))
def test_killed_at_a_random_busy_instant_and_run_again_the_tables_equal_an_uninterrupted_runs(
    archive, uninterrupted, busy_seconds, tmp_path, number
):
    config = installation(archive, tmp_path / "project")
    process = ingest_in_a_process(config)
    wait_for(config, process, "the lock is taken")
    time.sleep(random.Random(f"instant {number}").uniform(0, busy_seconds))
    process.send_signal(signal.SIGKILL)
    process.wait()
    pipeline.run_stage(config, "ingest")
    assert contents(config) == uninterrupted
    assert list((config.parent / "store" / "private").rglob("*.scratch")) == []
    assert ledgers_of_other_runs(config) == []
