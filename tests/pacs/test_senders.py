"""Real senders into `clnm receive`: Orthanc, and dcmtk's storescu and dcmsend. What they call sent is there."""

import io
import json
import signal
import subprocess
import time

import pytest
from pydicom import dcmread

from clnm import pipeline
from tests.pacs.orthanc import free_port, installed, need, orthanc
from tests.unit.intake_archives import ROOT, dicom, pixels, put
from tests.unit.test_receiver import files, installation, receive_in_a_process
from tests.watching import files_now

pytestmark = pytest.mark.long

COUNT = 24


@pytest.fixture
def received(tmp_path):
    """The archive, and the running receiver with its port."""
    (tmp_path / "archive").mkdir()
    config = installation(tmp_path, callers='["ORTHANC", "SONO1"]', port=free_port())
    process, port = receive_in_a_process(config)
    yield tmp_path, port, process
    process.kill()
    process.communicate()


def originals():
    return {
        f"{number}.dcm": dicom(number, array=pixels(number, (120, 160)), SeriesInstanceUID=f"{ROOT}.4.{number}")
        for number in range(COUNT)
    }


def ingested(directory):
    text = (directory / "clnm.toml").read_text().replace('"dicomweb+http://127.0.0.1:9/x", ', "")
    (directory / "clnm.toml").write_text(text + "[deep]\nenabled = false\n")
    counts = pipeline.run_stage(directory / "clnm.toml", "ingest")["stages"]["ingest"]["C1"]
    return {state: count for state, count in counts.items() if count}


@need("Orthanc")
def test_what_orthanc_sends_to_its_modality_is_in_the_archive(received):
    directory, port, _ = received
    with orthanc(directory / "orthanc", CLNM=port) as server:
        names = server.store(*originals().values())
        job = server.ask("/modalities/CLNM/store", json.dumps(names).encode(), "POST")
        assert (job["InstancesCount"], job["FailedInstancesCount"]) == (COUNT, 0)
        assert server.ask("/statistics")["CountInstances"] == len(files(directory / "archive"))
    assert ingested(directory) == {"ingested": COUNT}


@pytest.mark.parametrize("program", ["storescu", "dcmsend"])
@need("storescu", "dcmsend")
def test_what_dcmtk_sends_is_in_the_archive(received, program):
    directory, port, _ = received
    put(directory / "sent", originals())
    call = [installed(program), "-aet", "SONO1", "-aec", "CLNM", "+sd", "127.0.0.1", str(port)]
    assert subprocess.run([*call, str(directory / "sent")], check=False, timeout=60).returncode == 0
    kept = {dcmread(path).SOPInstanceUID: dcmread(path).PixelData for path in (directory / "archive").rglob("*.dcm")}
    assert kept == {
        dcmread(path).SOPInstanceUID: dcmread(path).PixelData for path in (directory / "sent").rglob("*.dcm")
    }
    assert ingested(directory) == {"ingested": COUNT}


@need("storescu")
def test_a_title_that_is_not_allowed_ends_storescu_with_an_error(received):
    directory, port, _ = received
    put(directory / "sent", originals())
    call = [installed("storescu"), "-aet", "STRANGER", "-aec", "CLNM", "+sd", "127.0.0.1", str(port)]
    answer = subprocess.run([*call, str(directory / "sent")], check=False, timeout=60, capture_output=True)
    assert answer.returncode != 0
    assert files(directory / "archive") == []


@need("Orthanc")
def test_a_receiver_killed_in_the_middle_holds_whole_files_alone_and_the_sender_knows_what_is_left(received):
    directory, port, process = received
    archive = directory / "archive"
    with orthanc(directory / "orthanc", CLNM=port) as server:
        names = server.store(*originals().values())
        body = json.dumps({"Resources": names, "Asynchronous": True}).encode()
        job = server.ask("/modalities/CLNM/store", body, "POST")["ID"]
        give_up = time.monotonic() + 60
        while len(files_now(archive, "*/*.dcm")) < COUNT // 4 and time.monotonic() < give_up:
            time.sleep(0.0005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        while server.ask(f"/jobs/{job}")["State"] in {"Pending", "Running", "Retry"} and time.monotonic() < give_up:
            time.sleep(0.05)
        kept = list(archive.glob("*/*.dcm"))
        assert COUNT // 4 <= len(kept) < COUNT
        assert server.ask(f"/jobs/{job}")["State"] == "Failure"
        originals_by_uid = {dcmread_bytes(content).SOPInstanceUID: content for content in originals().values()}
        for path in kept:
            whole = dcmread(path)
            assert whole.PixelData == dcmread_bytes(originals_by_uid[whole.SOPInstanceUID]).PixelData
        again, _ = receive_in_a_process(directory / "clnm.toml")
        try:
            told = server.ask("/modalities/CLNM/store", json.dumps(names).encode(), "POST")
            assert told["FailedInstancesCount"] == 0
        finally:
            again.terminate()
            again.communicate()
    assert len(files(archive)) == COUNT
    assert ingested(directory) == {"ingested": COUNT}


def dcmread_bytes(content):
    return dcmread(io.BytesIO(content))
