"""The ledger's promises over several looks: states add up, nothing is lost, nothing comes twice."""

import os
import shutil

import pytest

from clnm.archive import difference
from clnm.archive.ledger import Ledger
from clnm.archive.lookers import Lookers
from clnm.entities import Reason
from clnm.errors import NothingToDoError, StoreError
from clnm.imaging import cache
from tests.unit.intake_archives import SHAPE, blob, dicom, hospital, pixels, png, put, region

BOX = (4, 2, 27, 21)


@pytest.fixture
def clinic(tmp_path):
    """Three images, two masks, and some things that are no image."""
    return hospital(
        tmp_path,
        {
            "2025/a.dcm": dicom(1, regions=[region(BOX)]),
            "2025/deep/er/b": dicom(2),
            "c.dcm": dicom(3),
            "masks/a_mask.png": png(blob() * 255),
            "masks/b_r2.png": png(blob()),
            "README.txt": "hello",
            "empty.dcm": b"",
        },
        masks=["archive/masks"],
    )


def test_every_file_of_the_archive_is_in_exactly_one_state(clinic):
    intake = clinic.look()
    assert clinic.states() == {
        "2025/a.dcm": ("ingested", ""),
        "2025/deep/er/b": ("ingested", ""),
        "c.dcm": ("ingested", ""),
        "masks/a_mask.png": ("ingested", ""),
        "masks/b_r2.png": ("ingested", ""),
        "README.txt": ("ignored", "not_an_image"),
        "empty.dcm": ("quarantined", "empty"),
    }
    assert intake.counts == {
        "ingested": 5, "duplicate": 0, "ignored": 1, "quarantined": 1, "pending": 0, "gone": 0,
    }  # fmt: skip
    assert sum(intake.counts.values()) == len({file.file_key for file in intake.files}) == 7


def test_what_is_quarantined_or_has_no_mask_is_set_aside_with_its_reason(clinic):
    asides = {(aside.kind.value, aside.reason.value) for aside in clinic.look().set_aside}
    assert asides == {("file", "empty"), ("case", "no_mask")}


def test_a_second_look_over_nothing_new_is_empty(clinic):
    first = clinic.look()
    second = clinic.look()
    assert not first.is_empty
    assert second.is_empty
    assert second.counts == first.counts


def test_processes_see_what_one_sees(clinic, tmp_path):
    one = clinic.look()
    again = hospital(tmp_path, {}, masks=["archive/masks"])
    with Lookers(2) as lookers:
        many = again.look(look_at_all=lookers.map)
    assert (many.files, many.images, many.rois, many.set_aside) == (one.files, one.images, one.rois, one.set_aside)


def test_pixels_of_copies_are_not_kept(clinic):
    put(clinic.archive, {"copy_of_a.dcm": (clinic.archive / "2025" / "a.dcm").read_bytes()})
    intake = clinic.look()
    assert intake.counts["duplicate"] == 1
    kept = {path.stem for path in (clinic.directory / "pixels").rglob("*.*")}
    assert kept == {row.image_key for row in intake.images} | {row.roi_key for row in intake.rois}


def test_nothing_at_the_source_is_moved_changed_or_deleted(clinic):
    def looks():
        found = [path for path in clinic.archive.rglob("*") if path.is_file()]
        return {path: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) for path in found}

    before = looks()
    clinic.look()
    clinic.look()
    assert looks() == before


def test_pixels_outside_the_ultrasound_region_never_leave_intake(clinic):
    intake = clinic.look()
    [image] = [image for image in intake.images if image.rows_px != SHAPE[0]]
    kept = cache.read_image(clinic.directory / "pixels", image.image_key)
    left, top, right, bottom = BOX
    assert (kept == pixels(1)[top : bottom + 1, left : right + 1]).all()
    assert kept.shape == (image.rows_px, image.columns_px) == (20, 24)
    assert (image.spacing_x_mm, image.spacing_y_mm) == (0.1, 0.2)
    [roi] = [roi for roi in intake.rois if roi.image_key == image.image_key]
    mask = cache.read_mask(clinic.directory / "pixels", roi.roi_key)
    assert (mask == blob().astype(bool)[top : bottom + 1, left : right + 1]).all()
    assert roi.area_px == 48
    assert roi.area_mm2 == pytest.approx(48 * 0.1 * 0.2)


def test_a_new_file_alone_is_news(clinic):
    clinic.look()
    put(clinic.archive, {"d.dcm": dicom(4)})
    second = clinic.look()
    assert len(second.files) == len(second.images) == 1
    assert second.rois == []
    assert second.counts["ingested"] == 6


def test_a_file_that_was_touched_and_is_the_same_is_no_news(clinic):
    clinic.look()
    os.utime(clinic.archive / "c.dcm", (1, 1))  # older than before: difference counts, not "newer"
    second = clinic.look()
    assert (second.files, second.images, second.set_aside) == ([], [], [])


def test_an_image_that_changed_after_it_was_hashed_is_set_aside_and_its_rows_stay(clinic):
    first = clinic.look()
    path = clinic.archive / "c.dcm"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))
    second = clinic.look()
    assert clinic.states()["c.dcm"] == ("quarantined", "checksum_changed")
    assert second.images == []
    assert clinic.entry("c.dcm").sha256 in {image.sha256 for image in first.images}
    path.write_bytes(dicom(3))
    clinic.look()
    assert clinic.states()["c.dcm"] == ("ingested", "")


def test_bytes_that_changed_behind_an_unchanged_look_are_found(clinic):
    """A disk that forgets changes neither size nor time."""
    clinic.look()
    path = clinic.archive / "c.dcm"
    look, content = path.stat(), bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))
    os.utime(path, ns=(look.st_atime_ns, look.st_mtime_ns))
    second = clinic.look()
    assert clinic.states()["c.dcm"] == ("quarantined", "checksum_changed")
    assert [file.reason for file in second.files] == ["checksum_changed"]
    assert clinic.look().is_empty


def test_every_image_has_its_turn_of_being_hashed_again(clinic, monkeypatch):
    monkeypatch.setattr(difference, "REHASHED", 2)  # of the archive's three
    ledger = clinic.look().ledger
    for path in ("2025/a.dcm", "2025/deep/er/b", "c.dcm"):
        (clinic.archive / path).write_bytes(b"rotten")
    found = [
        {entry.path for entry in difference.silently_changed(ledger, {"C1/0": clinic.archive}, day)}
        for day in range(739_000, 739_003)
    ]
    assert [len(paths) for paths in found] == [2, 2, 2]
    assert set().union(*found) == {b"2025/a.dcm", b"2025/deep/er/b", b"c.dcm"}


def test_a_changed_image_is_taken_when_the_operator_asks_for_another_try(clinic):
    clinic.look()
    (clinic.archive / "c.dcm").write_bytes(dicom(3, array=pixels(99)))
    clinic.look()
    key = clinic.entry("c.dcm").file_key
    ledger = clinic.directory / f"ledger-{clinic.looks}.parquet"
    Ledger.read(ledger).forget_looks([key]).write(ledger)
    third = clinic.look()
    assert clinic.states()["c.dcm"] == ("ingested", "")
    assert len(third.images) == 1
    assert (cache.read_image(clinic.directory / "pixels", third.images[0].image_key) == pixels(99)).all()


def test_a_moved_file_is_gone_at_its_old_place_and_no_new_image(clinic):
    clinic.look()
    shutil.move(clinic.archive / "c.dcm", clinic.archive / "2025" / "c.dcm")
    second = clinic.look()
    states = clinic.states()
    assert states["c.dcm"] == ("gone", "")
    assert states["2025/c.dcm"] == ("ingested", "")
    assert second.images == []
    assert sum(second.counts.values()) == 8


def test_a_deleted_file_is_gone_and_back_when_it_is_back(clinic):
    clinic.look()
    content = (clinic.archive / "c.dcm").read_bytes()
    (clinic.archive / "c.dcm").unlink()
    assert clinic.look().counts["gone"] == 1
    assert clinic.look().is_empty
    (clinic.archive / "c.dcm").write_bytes(content)
    back = clinic.look()
    assert clinic.states()["c.dcm"] == ("ingested", "")
    assert back.counts["gone"] == 0
    assert back.images == []  # its row never left


def test_a_copy_takes_the_place_of_an_original_that_is_gone(tmp_path):
    clinic = hospital(tmp_path, {"a.dcm": dicom(1), "b.dcm": dicom(1), "c.dcm": dicom(3), "d.dcm": dicom(4)})
    first = clinic.look()
    assert clinic.states()["b.dcm"] == ("duplicate", "duplicate_of")
    assert len(first.images) == 3
    (clinic.archive / "a.dcm").unlink()
    second = clinic.look()
    assert clinic.states() == {
        "a.dcm": ("gone", ""),
        "b.dcm": ("ingested", ""),
        "c.dcm": ("ingested", ""),
        "d.dcm": ("ingested", ""),
    }
    assert second.images == []
    assert clinic.look().is_empty


def test_a_file_that_is_not_whole_and_was_just_touched_waits(tmp_path):
    whole = dicom(1)
    clinic = hospital(tmp_path, {"a.dcm": whole[:-40], "b.dcm": dicom(2)})
    now = (clinic.archive / "a.dcm").stat().st_mtime_ns + 5_000_000_000
    clinic.look(settle_seconds=60, now_ns=now)
    assert clinic.states()["a.dcm"] == ("pending", "still_copying")
    (clinic.archive / "a.dcm").write_bytes(whole)
    second = clinic.look(settle_seconds=60, now_ns=now + 10_000_000_000)
    assert clinic.states()["a.dcm"] == ("ingested", "")
    assert len(second.images) == 1


def test_a_file_that_is_still_not_whole_after_the_wait_is_quarantined_though_it_looks_the_same(tmp_path):
    clinic = hospital(tmp_path, {"a.dcm": dicom(1)[:-40], "b.dcm": dicom(2)})
    now = (clinic.archive / "a.dcm").stat().st_mtime_ns + 5_000_000_000
    clinic.look(settle_seconds=60, now_ns=now)
    clinic.look(settle_seconds=60, now_ns=now + 100_000_000_000)
    assert clinic.states()["a.dcm"] == ("quarantined", "truncated_pixels")


def test_a_file_from_the_future_does_not_wait_for_ever(tmp_path):
    clinic = hospital(tmp_path, {"a.dcm": dicom(1)[:-40]})
    now = (clinic.archive / "a.dcm").stat().st_mtime_ns - 3600 * 10**9
    clinic.look(settle_seconds=60, now_ns=now)
    assert clinic.states()["a.dcm"] == ("quarantined", "truncated_pixels")


def test_a_missing_archive_is_refused(clinic):
    shutil.rmtree(clinic.archive)
    with pytest.raises(NothingToDoError, match=r"center C1: archive entry C1/0 is not there; mount it") as caught:
        clinic.look()
    assert caught.value.exit_code == 11
    assert str(clinic.directory) not in str(caught.value)


def test_an_empty_archive_is_refused(clinic):
    clinic.look()
    shutil.rmtree(clinic.archive)
    clinic.archive.mkdir()
    clinic.again(masks=())
    with pytest.raises(NothingToDoError, match="archive entry C1/0 is empty"):
        clinic.look()


def test_an_archive_of_which_more_than_half_vanished_is_a_gone_mount(clinic):
    clinic.look()
    shutil.rmtree(clinic.archive / "2025")
    shutil.rmtree(clinic.archive / "masks")
    clinic.again(masks=())
    with pytest.raises(NothingToDoError, match="4 of 7 known files of C1/0 are not there; the mount is gone") as caught:
        clinic.look()
    assert caught.value.exit_code == 11


def test_less_than_half_may_be_deleted(clinic):
    clinic.look()
    shutil.rmtree(clinic.archive / "2025")
    clinic.look()
    states = clinic.states()
    assert [states[name][0] for name in ("2025/a.dcm", "2025/deep/er/b")] == ["gone", "gone"]
    assert sum(clinic.history[-1].counts.values()) == 7


def test_two_entries_of_one_center_keep_files_of_one_name_apart(tmp_path):
    clinic = hospital(tmp_path, {"x.dcm": dicom(1)})
    put(tmp_path / "other", {"x.dcm": dicom(2)})
    intake = clinic.again(archive=(tmp_path / "archive", tmp_path / "other")).look()
    assert {file.source for file in intake.files} == {"C1/0", "C1/1"}
    assert len({file.file_key for file in intake.files}) == len(intake.images) == 2


def test_what_is_returned_holds_no_path_no_name_and_no_id(clinic):
    put(clinic.archive, {"Mueller_Anna/Anna.dcm": dicom(9, PatientID="ANNA-77", PatientName="Mueller^Anna")})
    intake = clinic.look()
    told = repr((intake.files, intake.set_aside, intake.images, intake.rois, intake.clinical, intake.outcomes))
    assert [word for word in ("Anna", "ANNA", "Mueller", "Doe", "2025/", ".dcm", "P1'", "README") if word in told] == []


def test_a_ledger_prints_no_path(clinic):
    intake = clinic.look()
    assert "README" not in repr(intake.ledger.entries()) + repr(intake.ledger)


def test_a_damaged_ledger_is_told_in_a_sentence(tmp_path):
    (tmp_path / "ledger.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(StoreError, match="restore the store from a backup"):
        Ledger.read(tmp_path / "ledger.parquet")


def test_a_key_too_short_for_pseudonyms_is_refused(tmp_path):
    from clnm.archive.pseudonyms import Pseudonyms
    from clnm.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match="holds 5 bytes, needs 32"):
        Pseudonyms(b"short")


def test_ids_of_two_centers_never_meet_and_one_person_is_written_in_one_way():
    from clnm.archive.pseudonyms import Pseudonyms

    keys, others = Pseudonyms(b"k" * 32), Pseudonyms(b"j" * 32)
    assert keys.patient("C1", "P1") != keys.patient("C2", "P1") != others.patient("C2", "P1")
    assert len({keys.patient("C1", written) for written in ("p1", "P1 ", "P1\x00", "\uff301")}) == 1


def test_every_reason_that_intake_gives_a_file_is_known_and_its_detail_is_no_text_of_the_file(clinic):
    put(clinic.archive, {"bad.dcm": dicom(8, Rows=None), "cut.dcm": dicom(7)[:-9]})
    intake = clinic.look()
    assert {file.reason for file in intake.files if file.reason} <= {reason.value for reason in Reason}
    details = {file.detail for file in intake.files if file.detail}
    assert details == {"Rows", "759 of 768 bytes"}
