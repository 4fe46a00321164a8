"""The C-STORE receiver, called by pynetdicom's sender: success is said of what is on the disk, and of nothing else."""

import io
import os
import socket
import subprocess
import sys
import threading

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pynetdicom import AE

from clnm.archive.receiver import Inbox, Status, start_receiver
from clnm.archive.walk import walk
from clnm.errors import ConfigurationError
from clnm.pipeline.receive import receiving
from clnm.settings import make_pseudonym_key
from tests.unit.intake_archives import EXPLICIT, ROOT, US_IMAGE, dicom, hospital, pixels

VERIFICATION = "1.2.840.10008.1.1"


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "archive"
    folder.mkdir()
    return folder


@pytest.fixture
def told():
    return []


@pytest.fixture
def port(archive, told):
    server = start_receiver(
        Inbox(archive),
        ae_title="CLNM",
        callers=("SONO1",),
        address="127.0.0.1",
        port=0,
        tell=lambda *event: told.append(event),
    )
    yield server.socket.getsockname()[1]
    server.shutdown()


def send(port, *contents, title="SONO1", called="CLNM", syntax=EXPLICIT, sop_class=US_IMAGE, announced=None):
    """The status of each file, or None where there was no association."""
    entity = AE(ae_title=title)
    entity.add_requested_context(sop_class, syntax)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    if not association.is_established:
        return None
    found = []
    for content in contents:
        dataset = dcmread(io.BytesIO(content), force=True)
        if announced is not None:
            dataset.SOPInstanceUID = announced
        found.append(association.send_c_store(dataset).get("Status"))
    association.release()
    return found


def files(archive):
    return sorted(path.relative_to(archive).as_posix() for path in archive.rglob("*") if path.is_file())


def test_what_is_stored_is_found_by_intake(port, archive, tmp_path):
    assert send(port, dicom(1), dicom(2)) == [Status.STORED, Status.STORED]
    assert files(archive) == [f"{ROOT}.2.{number}/{ROOT}.3.{number}.dcm" for number in (1, 2)]
    intake = hospital(tmp_path, {}).look()
    assert {status: count for status, count in intake.counts.items() if count} == {"ingested": 2}
    assert len(intake.images) == 2


def test_pixels_arrive_as_they_were_sent(port, archive):
    send(port, dicom(1))
    [path] = archive.rglob("*.dcm")
    assert (dcmread(path).pixel_array == pixels(1)).all()


@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb_rle.dcm",
        "JPEG2000.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "ExplVR_BigEnd.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "image_dfl.dcm",
    ],
)
def test_every_transfer_syntax_is_taken_as_it_is(port, archive, name):
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"pydicom brings no {name}")
    dataset = dcmread(path)
    syntax = dataset.file_meta.TransferSyntaxUID
    content = open(path, "rb").read()  # noqa: SIM115, PTH123
    assert send(port, content, syntax=syntax, sop_class=dataset.SOPClassUID) == [Status.STORED]
    [kept] = archive.rglob("*.dcm")
    assert dcmread(kept).file_meta.TransferSyntaxUID == syntax
    assert dcmread(kept).PixelData == dataset.PixelData


def test_the_same_again_is_one_file_and_other_pixels_of_the_same_uid_are_two(port, archive, tmp_path):
    assert send(port, dicom(1), dicom(1), dicom(1, array=pixels(9))) == [Status.STORED] * 3
    assert len(files(archive)) == 2
    look = hospital(tmp_path, {})
    look.look()
    assert sorted(look.states().values()) == [("ingested", ""), ("quarantined", "uid_conflict")]


def test_a_title_that_is_not_allowed_is_refused(port, archive):
    assert send(port, dicom(1), title="STRANGER") is None
    assert send(port, dicom(1), called="ANOTHER") is None
    assert files(archive) == []


def test_an_echo_is_answered(port):
    entity = AE(ae_title="SONO1")
    entity.add_requested_context(VERIFICATION)
    association = entity.associate("127.0.0.1", port, ae_title="CLNM")
    assert association.send_c_echo().Status == 0
    association.release()


def test_a_data_set_that_is_not_the_announced_one_is_refused(archive):
    inbox = Inbox(archive)
    inbox.prepare()
    assert inbox.keep(dicom(1), "1.2.3") is Status.OTHER_INSTANCE
    assert inbox.keep(dicom(1, SOPInstanceUID=None), "") is Status.OTHER_INSTANCE
    assert files(archive) == []


@pytest.mark.parametrize("length", [0, 140, 300, -200, -2])
def test_a_cut_data_set_is_refused(archive, length):
    inbox = Inbox(archive)
    inbox.prepare()
    assert inbox.keep(dicom(1)[:length], f"{ROOT}.3.1") is Status.NOT_UNDERSTOOD
    assert files(archive) == []


def test_a_uid_that_is_a_path_names_no_folder(archive):
    inbox = Inbox(archive)
    inbox.prepare()
    wild = dicom(1, StudyInstanceUID="../../etc", SOPInstanceUID="..")
    assert inbox.keep(wild, "..") is Status.STORED
    [kept] = files(archive)
    assert kept.startswith("unknown-study/")
    assert not (archive.parent / "etc").exists()


def test_four_senders_at_once_lose_nothing(port, archive, told):
    statuses = []

    def work(first):
        statuses.extend(send(port, *(dicom(number) for number in range(first, first + 10))))

    threads = [threading.Thread(target=work, args=(100 * number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [Status.STORED] * 40
    assert len(files(archive)) == 40
    assert len(told) == 40


def test_what_is_being_written_is_not_in_the_archive_and_is_cleared_at_the_next_start(archive):
    inbox = Inbox(archive)
    inbox.prepare()
    (archive / ".clnm-receiving" / "half").write_bytes(dicom(1)[:500])
    assert list(walk(archive)) == []
    inbox.prepare()
    assert files(archive) == []


def test_a_hospitals_own_folder_of_that_name_deeper_down_is_walked(archive):
    (archive / "a" / ".clnm-receiving").mkdir(parents=True)
    (archive / "a" / ".clnm-receiving" / "b.dcm").write_bytes(dicom(1))
    assert [file.path for file in walk(archive)] == [b"a/.clnm-receiving/b.dcm"]


def installation(directory, **receive):
    lines = {"center": '"C1"', "port": "0", "callers": '["SONO1"]', **receive}
    make_pseudonym_key(directory / "key")
    (directory / "clnm.toml").write_text(
        """
[pseudonyms]
key_file = "key"
[[center]]
name = "C1"
role = "train"
archive = ["dicomweb+http://127.0.0.1:9/x", "archive"]
[receive]
"""
        + "".join(f"{key} = {value}\n" for key, value in lines.items()),
        encoding="utf-8",
    )
    return directory / "clnm.toml"


def test_files_land_in_the_first_folder_of_the_configured_center(archive, tmp_path):
    with receiving(installation(tmp_path)) as (address, port):
        assert address == "127.0.0.1"
        assert send(port, dicom(1)) == [Status.STORED]
    assert len(files(archive)) == 1
    assert send(port, dicom(2)) is None


@pytest.mark.parametrize(
    ("receive", "sentence"),
    [
        ({"callers": "[]"}, "callers is empty"),
        ({"center": '"C9"'}, "no center 'C9'"),
        ({"callers": '["A TITLE THAT IS TOO LONG"]'}, "receive.callers.0"),
        ({"ae_title": '"back\\\\slash"'}, "receive.ae_title"),
    ],
)
def test_settings_that_cannot_be_are_a_sentence(archive, tmp_path, receive, sentence):
    with pytest.raises(ConfigurationError, match=sentence), receiving(installation(tmp_path, **receive)):
        pass


def test_a_center_without_a_folder_and_a_port_that_is_taken_are_sentences(archive, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = installation(tmp_path, port=taken.getsockname()[1])
        with pytest.raises(ConfigurationError, match="cannot listen"), receiving(config):
            pass
    (archive / ".clnm-receiving").rmdir()
    archive.rmdir()
    with pytest.raises(ConfigurationError, match="has no folder"), receiving(installation(tmp_path)):
        pass


def receive_in_a_process(config, *, max_file_bytes=-1):
    """`clnm receive`, and its port; a file that grows larger than so many bytes finds the disk full."""
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({max_file_bytes}, {max_file_bytes})); "
        "from clnm.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--config", str(config), "receive"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
    )
    line = process.stderr.readline().decode()
    return process, int(line.split(";")[0].rsplit(":", 1)[1])


def test_a_disk_without_room_is_a_failure_and_leaves_nothing_behind(archive, tmp_path):
    process, port = receive_in_a_process(installation(tmp_path), max_file_bytes=5000)
    try:
        large = dicom(2, array=pixels(2, (100, 100)))
        assert send(port, dicom(1), large, dicom(3)) == [Status.STORED, Status.OUT_OF_RESOURCES, Status.STORED]
        assert files(archive) == [f"{ROOT}.2.{number}/{ROOT}.3.{number}.dcm" for number in (1, 3)]
    finally:
        process.terminate()
        _, told = process.communicate()
    assert process.returncode == 0
    assert b"out_of_resources" in told
    assert ROOT.encode() not in told
    assert b"Doe" not in told
