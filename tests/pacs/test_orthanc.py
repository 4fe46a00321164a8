"""A real Orthanc as an archive: what it counts is what the ledger holds, also when one of the two breaks off."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from clnm import pipeline
from clnm.errors import NothingToDoError
from clnm.pipeline import ingest
from clnm.pipeline.installation import open_installation
from clnm.settings import make_pseudonym_key
from tests.faults import test_intake_kill as killing
from tests.faults.test_intake_kill import count
from tests.pacs.orthanc import PASSWORD, USER, need, orthanc
from tests.unit.intake_archives import ROOT, blob, dicom, pixels, png, put

pytestmark = [pytest.mark.long, need("Orthanc")]

STUDIES, PER_STUDY = 15, 4
SHAPE = (240, 320)
AT_ONCE = 7
SYNTAXES = ["examples_palette.dcm", "examples_rgb_color.dcm", "examples_ybr_color.dcm", "examples_jpeg2k.dcm"]
"""Real ultrasound files (native, RLE and JPEG 2000) that come with pydicom."""


def contents(config):
    """What the store holds; of two clocks more, which tell where a run went on, only whether they ran."""
    found = killing.contents(config)
    names = {"commit_seq", "resolved_at"}
    return {
        relation: rows
        if relation == "pixels"
        else sorted([(name, value == "None" if name in names else value) for name, value in row] for row in rows)
        for relation, rows in found.items()
    }


def originals():
    made = [
        dicom(
            study * 100 + number,
            array=pixels(study * 100 + number, SHAPE),
            StudyInstanceUID=f"{ROOT}.2.{study}",
            SeriesInstanceUID=f"{ROOT}.4.{study}.{number // 2}",
            PatientID=f"P{study}",
        )
        for study in range(STUDIES)
        for number in range(PER_STUDY)
    ]
    real = [open(path, "rb").read() for name in SYNTAXES if (path := get_testdata_file(name, download=False))]  # noqa: SIM115, PTH123
    return made + real


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    with orthanc(tmp_path_factory.mktemp("orthanc") / "server") as server:
        server.store(*originals(), open(get_testdata_file("CT_small.dcm"), "rb").read())  # noqa: SIM115, PTH123
        yield server


@pytest.fixture(autouse=True)
def login(monkeypatch):
    monkeypatch.setenv("CLNM_DICOMWEB_USER_C1", USER)
    monkeypatch.setenv("CLNM_DICOMWEB_PASSWORD_C1", PASSWORD)
    monkeypatch.setattr(ingest, "FETCHED_AT_ONCE", AT_ONCE)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Masks on the disk, named after the instances; and the key of all installations."""
    directory = tmp_path_factory.mktemp("drawn")
    mask = png(blob(SHAPE, top=60, left=80, height=70, width=90) * 255)
    put(directory / "masks", {f"{ROOT}.3.{study * 100}_mask.png": mask for study in range(STUDIES)})
    make_pseudonym_key(directory / "key")
    return directory


def installation(pacs, drawn, directory):
    directory.mkdir()
    config = directory / "clnm.toml"
    config.write_text(
        f"""
[pseudonyms]
key_file = "{drawn}/key"
[[center]]
name = "C1"
role = "train"
archive = ["dicomweb+{pacs.url}"]
masks = ["{drawn}/masks"]
[deep]
enabled = false
[quality]
max_quarantined_fraction = 1
[compute]
workers = 1
""",
        encoding="utf-8",
    )
    return config


@pytest.fixture(scope="module")
def uninterrupted(pacs, drawn, tmp_path_factory):
    config = installation(pacs, drawn, tmp_path_factory.mktemp("whole") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLNM_DICOMWEB_USER_C1", USER)
        patch.setenv("CLNM_DICOMWEB_PASSWORD_C1", PASSWORD)
        patch.setattr(ingest, "FETCHED_AT_ONCE", 10**6)
        pipeline.run_stage(config, "ingest")
    return config, contents(config)


def server_rows(config):
    """State, reason and checksum of what came from the server."""
    store = open_installation(config).store
    question = "FROM files WHERE source = 'C1/0'"
    rows = store._connection(question, with_staged=True).sql(question).to_arrow_table().to_pylist()
    store.close()
    return rows


def test_every_instance_that_orthanc_counts_is_in_exactly_one_state(pacs, uninterrupted):
    config, held = uninterrupted
    rows = server_rows(config)
    assert len(rows) == pacs.ask("/statistics")["CountInstances"]
    states = [row["status"] for row in rows]
    assert (states.count("ignored"), states.count("pending"), states.count("gone")) == (1, 0, 0)  # the CT
    assert len(held["rois"]) == STUDIES


def test_what_is_fetched_is_what_was_stored_in_its_own_transfer_syntax(uninterrupted):
    config, held = uninterrupted
    fetched = {row["sha256"] for row in server_rows(config) if row["sha256"]}
    assert fetched == {hashlib.sha256(content).hexdigest() for content in originals()}
    syntaxes = {dict(row)["transfer_syntax"] for row in held["images"]}
    assert len(syntaxes) >= 2


def test_a_second_run_over_nothing_new_adds_nothing(pacs, drawn, uninterrupted):
    config, held = uninterrupted
    pipeline.run_stage(config, "ingest")
    assert contents(config) == held


def ingest_in_a_process(config):
    code = f"import clnm.pipeline.ingest as i; i.FETCHED_AT_ONCE = {AT_ONCE}; from clnm.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "--config", str(config), "ingest"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def wait_for_pixels(config, process, number):
    give_up = time.monotonic() + 60
    while count(config, "private/pixels/**/*.npy") < number:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < give_up, "the instant never came"
        time.sleep(0.0005)


@pytest.mark.parametrize("number", [1, AT_ONCE + 2, 5 * AT_ONCE])
def test_an_ingest_killed_in_the_middle_goes_on_where_it_was(pacs, drawn, uninterrupted, tmp_path, number):
    config = installation(pacs, drawn, tmp_path / "project")
    process = ingest_in_a_process(config)
    wait_for_pixels(config, process, number)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if number > 2 * AT_ONCE:
        assert "ingested" in {row["status"] for row in server_rows(config)}
    pipeline.run_stage(config, "ingest")
    assert contents(config) == uninterrupted[1]


def test_an_orthanc_that_dies_in_the_middle_and_comes_back_loses_nothing(pacs, drawn, uninterrupted, tmp_path):
    config = installation(pacs, drawn, tmp_path / "project")
    process = ingest_in_a_process(config)
    try:
        wait_for_pixels(config, process, 2 * AT_ONCE)
        pacs.stop(kill=True)
        _, told = process.communicate(timeout=120)
        assert process.returncode == 11
        assert b"DICOMweb server of C1/0 cannot be used" in told
        assert str(pacs.http).encode() not in told
        rows = server_rows(config)
        states = {row["status"] for row in rows}
        assert {"ingested", "pending"} <= states
        assert {row["reason"] for row in rows if row["status"] == "pending"} == {"not_fetched"}
    finally:
        process.kill()
        pacs.start()
    pipeline.run_stage(config, "ingest")
    assert contents(config) == uninterrupted[1]


def test_a_server_that_is_away_is_said_and_other_centers_go_on(pacs, drawn, tmp_path):
    config = installation(pacs, drawn, tmp_path / "project")
    put(tmp_path / "other", {"a.dcm": dicom(1)})
    text = config.read_text().replace(pacs.url, "http://127.0.0.1:9/dicom-web")
    other = f'\n[[center]]\nname = "C2"\nrole = "train"\narchive = ["{tmp_path}/other"]\n'
    config.write_text(text.replace("[deep]", f"{other}[deep]"))
    with pytest.raises(NothingToDoError, match="center C1: the DICOMweb server") as caught:
        pipeline.run_stage(config, "ingest")
    assert caught.value.done["stages"]["ingest"]["C2"]["ingested"] == 1


def test_a_wrong_login_is_said(pacs, drawn, tmp_path, monkeypatch):
    monkeypatch.setenv("CLNM_DICOMWEB_PASSWORD_C1", "another")
    with pytest.raises(NothingToDoError, match="refuses our login"):
        pipeline.run_stage(installation(pacs, drawn, tmp_path / "project"), "ingest")


def test_a_slice_of_the_archive_is_found_by_a_window_of_days(pacs, drawn, tmp_path):
    config = installation(pacs, drawn, tmp_path / "project")
    config.write_text(config.read_text().replace("[deep]", "[center.dicomweb]\nlookback_days = 1\n[deep]"))
    pipeline.run_stage(config, "ingest")
    whole = len(server_rows(config))
    today = time.strftime("%Y%m%d", time.gmtime())
    study = f"{ROOT}.2.999"
    late = dicom(99999, StudyInstanceUID=study, SeriesInstanceUID=f"{ROOT}.4.999", StudyDate=today)
    [name] = pacs.store(late)
    try:
        pipeline.run_stage(config, "ingest")
        assert len(server_rows(config)) == whole + 1
        assert "gone" not in {row["status"] for row in server_rows(config)}
    finally:
        pacs.ask(f"/instances/{name}", method="DELETE")


def test_no_uid_or_login_is_left_outside_the_private_part(uninterrupted):
    config, _ = uninterrupted
    store = config.parent / "store"
    told = [path for path in store.rglob("*") if path.is_file() and "private" not in path.relative_to(store).parts]
    needles = [ROOT.encode(), PASSWORD.encode(), json.dumps("dicom-web").encode()]
    assert told
    assert [path.name for path in told if any(needle in path.read_bytes() for needle in needles)] == []
    assert np.load(next((store / "private" / "pixels").rglob("*.npy"))).size
