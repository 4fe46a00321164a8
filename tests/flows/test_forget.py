"""A patient is forgotten by the whole path: no byte of the store, its ledgers or its pixels tells of them any more."""

from datetime import UTC, datetime, time

import duckdb
import pyarrow.parquet as pq
import pytest

from clnm import pipeline
from clnm.errors import UserError
from clnm.pipeline.forget import forget_patient
from clnm.pipeline.maintain import verify
from tests.flows.archives import SMALL_RADIOMICS
from tests.flows.growing import small_installation

NOW = datetime.combine(datetime.now(UTC).date(), time(), tzinfo=UTC)

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def forgotten(tmp_path_factory):
    """The store after a patient with several commits behind it was forgotten, and every key that was the patient's."""
    directory = tmp_path_factory.mktemp("forgetting")
    config = small_installation(directory, seed=3, until=NOW, radiomics=SMALL_RADIOMICS)
    for stage in ("ingest", "extract", "check"):
        pipeline.run_stage(config, stage)
    with duckdb.connect(str(directory / "store" / "catalog.duckdb"), read_only=True) as connection:
        patient = connection.execute("SELECT min(patient_key) FROM rois").fetchone()[0]
        keys = "SELECT patient_key, study_key, case_key, image_key, roi_key FROM rois WHERE patient_key = ?"
        keys = {key for row in connection.execute(keys, [patient]).fetchall() for key in row}
        files = "SELECT sha256 FROM files WHERE image_key IN (SELECT image_key FROM images WHERE patient_key = ?)"
        keys |= {sha for (sha,) in connection.execute(files, [patient]).fetchall() if sha}
    found_before = traces(directory / "store", keys)
    told = forget_patient(config, patient)
    return config, patient, keys, found_before, told


def traces(root, keys):
    """The files in whose name, bytes or Parquet values one of the keys stands."""
    sought = [key.encode() for key in keys]
    found = set()
    for path in root.rglob("*"):
        if not path.is_file():
            continue
        content = path.name.encode() + path.read_bytes()
        if path.suffix == ".parquet":
            content += repr(pq.read_table(path, partitioning=None).to_pylist()).encode()
        if any(key in content for key in sought):
            found.add(path.relative_to(root).as_posix())
    return found


def test_the_search_finds_the_patient_in_tables_ledger_and_pixels_before(forgotten):
    _, _, keys, found_before, told = forgotten
    assert len(keys) >= 6
    places = {path.split("/")[0] + "/" + path.split("/")[1] for path in found_before if "/" in path}
    assert {"private/ledger", "private/pixels", "tables/rois", "tables/radiomics", "tables/files"} <= places
    assert told["rows"] > 0
    assert told["files"] > 0


def test_no_byte_is_left(forgotten):
    config, _, keys, _, _ = forgotten
    assert traces(config.parent / "store", keys) == set()


def test_the_store_is_sound_and_the_other_patients_are_all_there(forgotten):
    config, *_ = forgotten
    assert verify(config)["findings"] == []
    with duckdb.connect(str(config.parent / "store" / "catalog.duckdb"), read_only=True) as connection:
        counts = "SELECT count(DISTINCT patient_key), count(DISTINCT case_key) FROM cases"
        assert connection.execute(counts).fetchone() == (15, 15)
        assert connection.execute("SELECT count(*) FROM rois ANTI JOIN radiomics USING (roi_key)").fetchone() == (0,)


def test_who_is_not_there_cannot_be_forgotten_again(forgotten):
    config, patient, *_ = forgotten
    with pytest.raises(UserError, match="no patient"):
        forget_patient(config, patient)
