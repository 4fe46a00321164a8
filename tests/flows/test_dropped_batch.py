"""Batches at the gate: published together; a damaged one keeps back itself alone; a dropped one is not lost."""

import shutil
from datetime import UTC, datetime, time

import pyarrow.parquet as pq
import pytest

from clnm import pipeline
from clnm.archive.ledger import Ledger
from clnm.errors import StoreError, UserError
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


def test_what_passes_is_published_in_one_step(staged, tmp_path):
    shutil.copytree(staged.parent, tmp_path / "copy")
    config = tmp_path / "copy" / "clnm.toml"
    pipeline.run_stage(config, "check")
    commits = " UNION ".join(f"SELECT commit_seq FROM {name}" for name in ("images", "rois", "radiomics", "clinical"))
    assert answers(config, f"SELECT count(*) FROM ({commits})") == [(1,)]
    assert answers(config, "SELECT count(DISTINCT center) FROM rois") == [(4,)]


def test_a_night_too_large_for_one_step_is_published_center_by_center(staged, tmp_path, monkeypatch):
    shutil.copytree(staged.parent, tmp_path / "copy")
    config = tmp_path / "copy" / "clnm.toml"
    monkeypatch.setattr("clnm.pipeline.check._TOGETHER_BYTES", 1)
    pipeline.run_stage(config, "check")
    assert answers(config, "SELECT count(DISTINCT commit_seq), count(DISTINCT center) FROM rois") == [(4, 4)]


def test_a_batch_damaged_where_the_gate_does_not_look_keeps_back_itself_alone(staged, tmp_path):
    shutil.copytree(staged.parent, tmp_path / "copy")
    config = tmp_path / "copy" / "clnm.toml"
    [path] = (config.parent / "store" / "staging" / "images" / "C2").rglob("*.parquet")
    group = pq.read_metadata(path).row_group(0)
    [column] = [group.column(i) for i in range(group.num_columns) if group.column(i).path_in_schema == "study_key"]
    content = bytearray(path.read_bytes())
    content[column.data_page_offset : column.data_page_offset + 20] = b"\xff" * 20
    path.write_bytes(content)
    with pytest.raises(StoreError, match="center C2: staged images: .* `clnm check drop` lets the batch go"):
        pipeline.run_stage(config, "check")
    assert answers(config, "SELECT DISTINCT center FROM rois ORDER BY center") == [("C1",), ("C3",), ("C4",)]
    assert {row["center"] for row in held_batches(config)} == {"C2"}
    assert answers(config, "SELECT DISTINCT center FROM check_results ORDER BY center") == [("C1",), ("C3",), ("C4",)]


def test_rows_that_no_check_has_seen_are_not_released(staged, tmp_path):
    shutil.copytree(staged.parent, tmp_path / "copy")
    config = tmp_path / "copy" / "clnm.toml"
    with pytest.raises(UserError, match="center C1: some of its rows came after its last check"):
        decide(config, "C1", release=True, who="dm", why="in a hurry")
    assert answers(config, "SELECT count(*) FROM images") == [(0,)]


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
