"""Folders, zip and tar files read in place: whatever lies there, it is listed, and nothing is extracted or followed."""

import gzip
import io
import os
import socket
import stat
import struct
import tarfile
import zipfile

import pytest

from clnm.archive.walk import MAX_BYTES, read, walk
from clnm.entities import Reason
from clnm.errors import NothingToDoError
from clnm.imaging.refusal import RefusedError
from tests.unit.intake_archives import blob, dicom, hospital, png, put


def zipped(members, *, encrypted=()):
    """A zip file of (name or ZipInfo, bytes); members named in `encrypted` carry the flag."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
        for info in archive.infolist():
            if info.filename in encrypted:
                info.flag_bits |= 1
    return file.getvalue()


def tarred(members, mode="w"):
    """A tar file of (TarInfo or name, bytes)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def by_member(clinic):
    """States by member name, in the order of members (names can repeat)."""
    entries = clinic.history[-1].ledger.entries()
    return [(e.path.split(b"!", 1)[-1].decode(), e.status.value, e.reason) for e in entries]


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("x.zip", zipped),
        ("x.tar", tarred),
        ("x.tar.gz", lambda members: tarred(members, "w:gz")),
        ("X.TGZ", lambda members: tarred(members, "w:gz")),
    ],
)
def test_members_are_taken_in_as_files_are_and_nothing_is_extracted(tmp_path, name, pack):
    content = pack([("p/a.dcm", dicom(1)), ("p/a_mask.png", png(blob())), ("notes.txt", b"x")])
    clinic = hospital(tmp_path, {f"sub/{name}": content})
    intake = clinic.look()
    assert sorted(by_member(clinic)) == [
        ("0000000:p/a.dcm", "ingested", ""),
        ("0000001:p/a_mask.png", "ingested", ""),
        ("0000002:notes.txt", "ignored", "not_an_image"),
    ]
    assert len(intake.images) == len(intake.rois) == 1
    assert [path.name for path in clinic.archive.rglob("*")] == ["sub", name]
    assert clinic.look().is_empty


def test_an_archive_entry_can_itself_be_a_zip_file(tmp_path):
    clinic = hospital(tmp_path, {"all.zip": zipped([("a.dcm", dicom(1))])})
    clinic.again(archive=(tmp_path / "archive" / "all.zip",))
    assert len(clinic.look().images) == 1
    assert clinic.look().is_empty


@pytest.mark.parametrize("name", ["../up.dcm", "/abs.dcm", "a/../../b.dcm", "..\\win.dcm", "\\abs.dcm"])
@pytest.mark.parametrize(("archive", "pack"), [("x.zip", zipped), ("x.tar", tarred)])
def test_a_member_that_points_out_of_its_archive_is_unsafe_and_the_others_go_on(tmp_path, name, archive, pack):
    clinic = hospital(tmp_path, {archive: pack([(name, dicom(1)), ("ok.dcm", dicom(2))])})
    clinic.look()
    assert [(status, reason) for _, status, reason in by_member(clinic)] == [
        ("quarantined", "unsafe_member"),
        ("ingested", ""),
    ]


def test_links_and_devices_in_a_tar_file_are_unsafe(tmp_path):
    content = tarred(
        [
            (special("soft", tarfile.SYMTYPE, "/etc/passwd"), b""),
            (special("hard", tarfile.LNKTYPE, "ok.dcm"), b""),
            (special("device", tarfile.CHRTYPE), b""),
            (special("pipe", tarfile.FIFOTYPE), b""),
            ("ok.dcm", dicom(1)),
        ]
    )
    clinic = hospital(tmp_path, {"x.tar": content})
    clinic.look()
    assert [reason for _, _, reason in by_member(clinic)] == ["unsafe_member"] * 4 + [""]


def test_a_link_in_a_zip_file_is_unsafe(tmp_path):
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    clinic = hospital(tmp_path, {"x.zip": zipped([(info, b"/etc/passwd"), ("ok.dcm", dicom(1))])})
    clinic.look()
    assert [reason for _, _, reason in by_member(clinic)] == ["unsafe_member", ""]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("archive", "pack"), [("x.zip", zipped), ("x.tar", tarred)])
def test_two_members_of_one_name_are_two_files(tmp_path, archive, pack):
    clinic = hospital(tmp_path, {archive: pack([("a.dcm", dicom(1)), ("a.dcm", dicom(2)), ("a.dcm", dicom(1))])})
    intake = clinic.look()
    assert by_member(clinic) == [
        ("0000000:a.dcm", "ingested", ""),
        ("0000001:a.dcm", "ingested", ""),
        ("0000002:a.dcm", "duplicate", "duplicate_of"),
    ]
    assert len(intake.images) == 2


def test_an_encrypted_member_is_named_and_the_others_go_on(tmp_path):
    content = zipped([("secret.dcm", dicom(1)), ("ok.dcm", dicom(2))], encrypted={"secret.dcm"})
    clinic = hospital(tmp_path, {"x.zip": content})
    clinic.look()
    assert [reason for _, _, reason in by_member(clinic)] == ["archive_encrypted", ""]


CUT = [
    ("x.zip", lambda: zipped([("a.dcm", dicom(1)), ("b.dcm", dicom(2))])[:-30]),
    ("x.zip", lambda: zipped([("a.dcm", dicom(1))])[:100]),
    ("x.tar", lambda: tarred([("a.dcm", dicom(1)), ("b.dcm", dicom(2))])[:1000]),
    ("x.tar", lambda: tarred([("a.dcm", dicom(1)), ("b.dcm", dicom(2))])[:2048]),
    ("x.tar.gz", lambda: tarred([("a.dcm", dicom(1)), ("b.dcm", dicom(2))], "w:gz")[:-400]),
    ("x.tar.gz", lambda: gzip.compress(tarred([("a.dcm", dicom(1))])[:2048])),
    ("x.zip", lambda: b"PK\x03\x04 no zip at all"),
    ("x.tar", lambda: b""),
]


@pytest.mark.parametrize(("name", "make"), CUT)
def test_a_truncated_archive_is_one_refused_file_and_gives_no_member(tmp_path, name, make):
    clinic = hospital(tmp_path, {name: make(), "ok.dcm": dicom(9)})
    intake = clinic.look()
    assert clinic.states() == {name: ("quarantined", "archive_truncated"), "ok.dcm": ("ingested", "")}
    assert len(intake.images) == 1
    assert clinic.look().is_empty


def test_a_tar_file_cut_at_the_end_of_a_member_is_not_taken_for_whole(tmp_path):
    whole = tarred([("a.dcm", dicom(1)), ("b.dcm", dicom(2))])
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        second = archive.getmembers()[1].offset
    clinic = hospital(tmp_path, {"x.tar": whole[:second]})
    clinic.look()
    assert clinic.states() == {"x.tar": ("quarantined", "archive_truncated")}


def test_an_archive_being_copied_waits_and_its_members_come_when_it_is_whole(tmp_path):
    whole = zipped([("a.dcm", dicom(1)), ("b.dcm", dicom(2))])
    clinic = hospital(tmp_path, {"x.zip": whole[:-30], "ok.dcm": dicom(3)})
    now = (clinic.archive / "x.zip").stat().st_mtime_ns + 10**9
    clinic.look(settle_seconds=60, now_ns=now)
    assert clinic.states()["x.zip"] == ("pending", "still_copying")
    (clinic.archive / "x.zip").write_bytes(whole)
    intake = clinic.look(settle_seconds=60, now_ns=now + 10**9)
    assert len(intake.images) == 2
    assert clinic.states()["x.zip"] == ("gone", "")


def test_members_of_an_archive_that_was_damaged_since_are_not_gone(tmp_path):
    clinic = hospital(tmp_path, {"x.zip": zipped([("a.dcm", dicom(1)), ("b.dcm", dicom(2))]), "ok.dcm": dicom(3)})
    clinic.look()
    path = clinic.archive / "x.zip"
    path.write_bytes(path.read_bytes()[:-30])
    clinic.look()
    states = clinic.states()
    assert states["x.zip"] == ("quarantined", "archive_truncated")
    assert [states[f"x.zip!{name}"][0] for name in ("0000000:a.dcm", "0000001:b.dcm")] == ["ingested", "ingested"]


def test_a_member_whose_bytes_rotted_is_refused_alone(tmp_path):
    content = bytearray(zipped([("a.dcm", dicom(1)), ("b.dcm", dicom(2))]))
    content[200] ^= 0xFF
    clinic = hospital(tmp_path, {"x.zip": bytes(content)})
    clinic.look()
    assert [reason for _, _, reason in by_member(clinic)] == ["archive_truncated", ""]


def test_a_bomb_in_a_zip_file_is_refused_before_it_is_inflated(tmp_path):
    content = bytearray(zipped([("bomb.dcm", b"\x00" * 300_000), ("ok.dcm", dicom(1))]))
    at = content.index(b"PK\x01\x02")
    struct.pack_into("<L", content, at + 24, 150_000_000)  # the size that the central directory states
    clinic = hospital(tmp_path, {"x.zip": bytes(content)})
    clinic.look()
    assert [reason for _, _, reason in by_member(clinic)] == ["too_large", ""]


def test_an_archive_in_an_archive_is_refused_because_it_may_hold_patients(tmp_path):
    clinic = hospital(
        tmp_path, {"x.zip": zipped([("inner.zip", zipped([("a.dcm", dicom(1))]))]), "y.7z": b"7z\xbc\xaf"}
    )
    clinic.look()
    assert {(status, reason) for _, status, reason in by_member(clinic)} == {("quarantined", "not_dicom")}


def test_a_sparse_file_too_large_for_an_image_is_refused_unread(tmp_path):
    clinic = hospital(tmp_path, {"ok.dcm": dicom(1)})
    with (clinic.archive / "huge.dcm").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    clinic.look()
    assert clinic.states()["huge.dcm"] == ("quarantined", "too_large")


def test_links_are_listed_and_never_followed(tmp_path):
    clinic = hospital(tmp_path, {"a/x.dcm": dicom(1)})
    os.symlink("..", clinic.archive / "a" / "loop")
    os.symlink("nowhere", clinic.archive / "dangling.dcm")
    os.symlink("a/x.dcm", clinic.archive / "again.dcm")
    clinic.look()
    assert clinic.states() == {
        "a/x.dcm": ("ingested", ""),
        "a/loop": ("quarantined", "not_a_regular_file"),
        "dangling.dcm": ("quarantined", "not_a_regular_file"),
        "again.dcm": ("quarantined", "not_a_regular_file"),
    }


def test_an_entry_that_is_a_link_to_a_folder_is_walked(tmp_path):
    clinic = hospital(tmp_path, {"x.dcm": dicom(1)})
    os.symlink("archive", tmp_path / "link")
    assert len(clinic.again(archive=(tmp_path / "link",)).look().images) == 1


def test_pipes_and_sockets_are_listed_and_never_waited_for(tmp_path, monkeypatch):
    clinic = hospital(tmp_path, {"x.dcm": dicom(1)})
    os.mkfifo(clinic.archive / "pipe.dcm")
    monkeypatch.chdir(clinic.archive)  # a socket's path is limited to 108 bytes
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("socket.dcm")
        clinic.look()
    assert [clinic.states()[name][1] for name in ("pipe.dcm", "socket.dcm")] == ["not_a_regular_file"] * 2


def test_a_link_that_takes_the_place_of_a_file_between_walk_and_read_is_not_followed(tmp_path):
    put(tmp_path, {"secret": b"x", "archive/a": b"y"})
    [found] = walk(tmp_path / "archive")
    (tmp_path / "archive" / "a").unlink()
    os.symlink("../secret", tmp_path / "archive" / "a")
    with pytest.raises(RefusedError) as caught:
        read(tmp_path / "archive", found.path)
    assert caught.value.reason is Reason.IO_ERROR


def test_a_file_that_vanishes_between_walk_and_read_is_an_io_error(tmp_path):
    put(tmp_path / "archive", {"a": b"y"})
    [found] = walk(tmp_path / "archive")
    (tmp_path / "archive" / "a").unlink()
    with pytest.raises(RefusedError) as caught:
        read(tmp_path / "archive", found.path)
    assert caught.value.reason is Reason.IO_ERROR


ODD_NAMES = [
    b"Gr\xf6\xdfe.dcm",  # latin-1, no UTF-8
    b"new\nline.dcm",
    "übung.dcm".encode(),
    b"tab\there \xff\xfe",
    b"x" * 250,
    b"0000001:like a member.dcm",
    b"a!0000002:b.dcm",
    b"x.zip!0000003:c.dcm",
]


def test_any_name_that_a_disk_can_hold_is_accounted_for(tmp_path):
    clinic = hospital(tmp_path, {})
    folder = os.fsencode(clinic.archive)
    os.makedirs(folder)
    for number, name in enumerate(ODD_NAMES):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(dicom(number))
    intake = clinic.look()
    assert sorted(entry.path for entry in intake.ledger.entries()) == sorted(ODD_NAMES)
    assert {file.status.value for file in intake.files} == {"ingested"}
    assert clinic.look().is_empty


def test_a_mask_finds_its_image_by_a_stem_that_is_no_utf8(tmp_path):
    clinic = hospital(tmp_path, {})
    folder = os.fsencode(clinic.archive)
    os.makedirs(folder)
    for name, content in ((b"Gr\xf6\xdfe.dcm", dicom(1)), (b"Gr\xf6\xdfe_mask.png", png(blob()))):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content)
    assert len(clinic.look().rois) == 1


def test_a_folder_nested_deeper_than_python_recurses_is_walked(tmp_path):
    folder = os.fspath(tmp_path / "archive")
    os.mkdir(folder)
    for _ in range(1100):
        folder += "/d"
        os.mkdir(folder)
    with open(folder + "/x.dcm", "wb") as file:
        file.write(dicom(1))
    try:
        [found] = walk(tmp_path / "archive")
        assert read(tmp_path / "archive", found.path) == dicom(1)
    finally:
        os.unlink(folder + "/x.dcm")
        while folder.endswith("/d"):  # what clears the folder of a test recurses
            os.rmdir(folder)
            folder = folder.removesuffix("/d")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named_and_what_lies_below_is_not_gone(tmp_path):
    clinic = hospital(tmp_path, {"open/a.dcm": dicom(1), "closed/b.dcm": dicom(2), "c.dcm": dicom(3)})
    clinic.look()
    os.chmod(clinic.archive / "closed", 0)
    os.chmod(clinic.archive / "c.dcm", 0)
    os.utime(clinic.archive / "c.dcm", (1, 1))
    try:
        clinic.look()
    finally:
        os.chmod(clinic.archive / "closed", 0o700)
    states = clinic.states()
    assert states["closed"] == ("quarantined", "permission")
    assert states["c.dcm"] == ("quarantined", "permission")
    assert states["closed/b.dcm"] == ("ingested", "")


def test_files_below_a_folder_that_cannot_be_listed_now_are_not_gone(tmp_path, monkeypatch):
    clinic = hospital(tmp_path, {"f/a.dcm": dicom(1), "f/b.dcm": dicom(2), "f2/c.dcm": dicom(3), "d.dcm": dicom(4)})
    clinic.look()
    listed = os.scandir

    def scandir(path):
        if not isinstance(path, int) and os.fsencode(path).endswith(b"/f"):
            raise OSError(5, "Input/output error")
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)  # the disk's fault, not our code's
    clinic.look()
    states = clinic.states()
    assert states["f"] == ("quarantined", "io_error")
    assert [states[name][0] for name in ("f/a.dcm", "f/b.dcm", "f2/c.dcm")] == ["ingested"] * 3
    monkeypatch.undo()
    clinic.look()
    assert clinic.states()["f"] == ("gone", "")


def test_an_empty_zip_file_alone_is_an_empty_archive(tmp_path):
    clinic = hospital(tmp_path, {"x.zip": zipped([])})
    with pytest.raises(NothingToDoError, match="is empty"):
        clinic.look()
