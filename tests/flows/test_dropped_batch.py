"""A dropped batch is not lost: its files and its tables' rows come again, and who was in it can be forgotten."""

import shutil
from datetime import UTC, datetime, time

import pytest

from clnm import pipeline
from clnm.archive.ledger import Ledger
from clnm.errors import StoreError
from clnm.pipeline.check import decide, held_batches
from clnm.pipeline.forget import forget_patient
from clnm.pipeline.installation import open_installation
from clnm.pipeline.maintain import verify
from tests.flows.growing import small_installation
from tests.flows.test_forget import traces
from tests.flows.test_nightly import answers

pytestmark = pytest.mark.long

NOW = datetime.combine(datetime.now(UTC).date(), time(), tzinfo=UTC)
CLOCKS = "known_at, run_id, config_hash, commit_seq"
FACTS = {
    "images": CLOCKS,
    "rois": CLOCKS,
    "radiomics": f"computed_at, {CLOCKS}",
    "clinical": CLOCKS,
    "outcomes": CLOCKS,
    "cases": "known_at",
}


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """Sixteen patients of four centers, all of which wait for the gate."""
    config = small_installation(tmp_path_factory.mktemp("staged"), seed=5, until=NOW)
    for stage in ("ingest", "extract"):
        pipeline.run_stage(config, stage)
    return config


@pytest.fixture
def dropped(staged, tmp_path):
    """The same after one of C1's staged files was damaged, and its batch dropped."""
    shutil.copytree(staged.parent, tmp_path / "copy")
    config = tmp_path / "copy" / "clnm.toml"
    [path] = (config.parent / "store" / "staging" / "rois" / "C1").rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StoreError, match="of center C1 is missing or damaged; `clnm check drop C1`"):
        pipeline.run_stage(config, "check")
    assert {row["center"] for row in held_batches(config)} >= {"C1"}
    told = decide(config, "C1", release=False, who="dm", why="the disk lost a file")
    return config, told


def facts(config):
    return {
        name: answers(config, f"SELECT * EXCLUDE ({clocks}) FROM {name} ORDER BY ALL") for name, clocks in FACTS.items()
    }


def test_what_was_dropped_waits_and_comes_again_whole(staged, dropped, tmp_path):
    config, told = dropped
    waiting = "SELECT count(*) FROM files WHERE center = 'C1' AND status = 'pending' AND reason = 'batch_dropped'"
    assert answers(config, waiting) == [(told["files_looked_at_again"],)]
    assert told["files_looked_at_again"] >= 4
    assert verify(config)["findings"] == []
    shutil.copytree(staged.parent, tmp_path / "undisturbed")
    undisturbed = tmp_path / "undisturbed" / "clnm.toml"
    pipeline.run_stage(undisturbed, "check")
    for stage in ("ingest", "extract", "check"):
        pipeline.run_stage(config, stage)
    assert facts(config) == facts(undisturbed)
    assert answers(config, waiting) == [(0,)]
    assert verify(config)["findings"] == []
    before = facts(config)
    for stage in ("ingest", "extract", "check"):
        pipeline.run_stage(config, stage)
    assert facts(config) == before


def test_a_patient_whose_rows_were_dropped_is_forgotten_with_pixels_and_paths(dropped):
    config, _ = dropped
    installation = open_installation(config)
    entries = Ledger.read(installation.root / installation.store.kept("ledger/C1")).entries()
    patient = next(entry.patient_key for entry in entries if entry.patient_key)
    keys = {value for e in entries if e.patient_key == patient for value in (patient, e.file_key, e.sha256)}
    assert len(traces(installation.root, keys)) >= 2
    forget_patient(config, patient)
    assert traces(installation.root, keys) == set()
    assert verify(config)["findings"] == []
