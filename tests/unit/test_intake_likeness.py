"""Images of different patients that look alike are told, whatever the order in which they came."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from clnm.imaging.likeness import HASH_BYTES, as_words, differing_bits, likeness_of
from tests.unit.intake_archives import dicom, hospital, pixels

SHAPE = (120, 160)


def scene(seed):
    """A smooth picture, as tissue is: not the same as another seed's."""
    rough = np.random.default_rng(seed).integers(20, 220, (12, 16)).astype(np.float32)
    return np.kron(rough, np.ones((10, 10))).astype(np.uint8)


def noisy(array, seed, amount=6):
    noise = np.random.default_rng(seed).integers(-amount, amount + 1, array.shape)
    return np.clip(array.astype(int) + noise, 0, 255).astype(np.uint8)


def alike(clinic):
    found = clinic.history[-1].ledger.asides
    keys = {entry.file_key: entry.path.decode() for entry in clinic.history[-1].ledger.entries()}
    images = {entry.image_key: entry.path.decode() for entry in clinic.history[-1].ledger.entries()}
    return {keys[a.item_key]: images[a.detail] for a in found if a.reason == "near_duplicate"}


def test_a_picture_that_was_saved_again_is_told_of_both(tmp_path):
    files = {f"{n}.dcm": dicom(n, array=scene(n)) for n in range(5)}
    clinic = hospital(tmp_path, files | {"again.dcm": dicom(9, array=noisy(scene(2), 1))})
    intake = clinic.look()
    assert alike(clinic) == {"2.dcm": "again.dcm", "again.dcm": "2.dcm"}
    assert intake.counts["ingested"] == 6
    assert clinic.look().is_empty


def test_two_pictures_of_one_patient_may_look_alike(tmp_path):
    again = dicom(9, array=noisy(scene(1), 1), PatientID="P1")
    clinic = hospital(tmp_path, {"a.dcm": dicom(1, array=scene(1)), "b.dcm": again})
    clinic.look()
    assert alike(clinic) == {}


def test_one_that_comes_later_is_told_and_one_that_goes_is_no_more(tmp_path):
    clinic = hospital(tmp_path, {f"{n}.dcm": dicom(n, array=scene(n)) for n in range(4)})
    clinic.look()
    assert alike(clinic) == {}
    (clinic.archive / "later.dcm").write_bytes(dicom(9, array=noisy(scene(3), 1)))
    clinic.look()
    whole = hospital(tmp_path / "whole", {path.name: path.read_bytes() for path in clinic.archive.iterdir()})
    whole.look()
    assert alike(clinic) == alike(whole) == {"3.dcm": "later.dcm", "later.dcm": "3.dcm"}
    (clinic.archive / "3.dcm").unlink()
    intake = clinic.look()
    assert alike(clinic) == {}
    assert {row.resolved_at for row in intake.set_aside if row.reason == "near_duplicate"} == {
        intake.set_aside[0].resolved_at
    }


def test_blanks_and_tiny_pictures_are_like_nothing():
    assert likeness_of(np.zeros(SHAPE, np.uint8)) == b""
    assert likeness_of(np.full(SHAPE, 77, np.uint8)) == b""
    assert likeness_of(pixels(1, (16, 40))) == b""
    assert len(likeness_of(scene(1))) == HASH_BYTES


def test_gain_does_not_change_what_a_picture_is_like():
    dark = (scene(1) // 2).astype(np.uint8)
    bits = differing_bits(as_words([likeness_of(scene(1))]), as_words([likeness_of(dark)]))
    assert bits[0, 0] <= 12


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=6))
@settings(max_examples=50, deadline=None)
def test_bits_are_counted_as_python_counts_them(hashes):
    found = differing_bits(as_words(hashes), as_words(hashes))
    counted = [[(int.from_bytes(a) ^ int.from_bytes(b)).bit_count() for b in hashes] for a in hashes]
    assert found.tolist() == counted
