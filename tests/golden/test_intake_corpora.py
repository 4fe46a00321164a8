"""Real odd, cut, foreign and mislabelled files: one expected state, reason and detail each, in intake_corpora.csv."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from clnm.imaging.decode import decode_frame
from clnm.imaging.dicom import parse_dicom
from clnm.imaging.refusal import RefusedError
from tests.unit.intake_archives import SHARED, hospital, name_of

EXPECTED = list(csv.DictReader((Path(__file__).parent / "intake_corpora.csv").open(encoding="utf-8")))
CORPORA = sorted({row["path"].split("/", 1)[0] for row in EXPECTED})
# box (top, bottom, left, right) and spacing (x, y) in mm as the headers' regions say; frame of frames
PLACED = {
    "cornerstone/no-pixel-spacing.dcm": ((60, 519, 120, 800), (0.3305420890260027,) * 2, (0, 1)),
    "dcm4che/YBR_FULL-RLE.dcm": ((48, 416, 84, 484), (0.09536785180637355,) * 2, (0, 1)),
    "fo-dicom/DIRW0007": ((48, 392, 27, 549), (0.5247813350662958,) * 2, (32, 65)),  # delta x is negative
    "fo-dicom/GH364.dcm": ((0, 768, 0, 1024), (None, None), (0, 1)),
    "pydicom-data/OBXXXX1A.dcm": ((60, 519, 120, 800), (0.26228787661969977,) * 2, (0, 1)),
    "pydicom-data/OBXXXX1A_rle_2frame.dcm": ((60, 519, 120, 800), (0.26228787661969977,) * 2, (1, 2)),
    "pydicom-data/US1_UNCR.dcm": ((0, 480, 0, 640), (None, None), (0, 1)),
    "pydicom-data/US1_J2KI.dcm": ((0, 480, 0, 640), (None, None), (0, 1)),
    "pydicom-data/US1_J2KR.dcm": ((0, 480, 0, 640), (None, None), (0, 1)),
    "pydicom-data/gdcm-US-ALOKA-16.dcm": ((24, 416, 32, 336), (0.3826530650258064,) * 2, (0, 1)),  # left of two
    "pydicom/examples_rgb_color.dcm": ((0, 240, 0, 320), (None, None), (0, 1)),
    "pydicom/examples_ybr_color.dcm": ((0, 240, 0, 320), (None, None), (15, 30)),  # its region is of a larger picture
}


def look_into(corpus, directory):
    """A center over one corpus; pictures get an index table that takes each for a patient of its own."""
    if not (SHARED / corpus).is_dir():
        pytest.skip(f"the real files of shared/data/{corpus} are not here")
    pictures = sorted(path for path in (SHARED / corpus).rglob("*.png") if "_mask" not in path.name)
    lines = [f"{path.relative_to(SHARED)},{path.stem}\n" for path in pictures]
    tables = {"index": ("images.csv", "image,patient\n" + "".join(lines))} if pictures else None
    clinic = hospital(directory, {}, tables=tables).again(archive=(SHARED / corpus,))
    clinic.look()
    return clinic


@pytest.fixture(scope="module", params=CORPORA)
def looked_at(request, tmp_path_factory):
    return request.param, look_into(request.param, tmp_path_factory.mktemp(request.param))


def test_every_file_is_in_the_state_that_is_right_for_it(looked_at):
    corpus, clinic = looked_at
    entries = clinic.history[0].ledger.entries()
    found = {f"{corpus}/{name_of(e)}": (e.status.value, e.reason, e.detail) for e in entries}
    expected = {row["path"]: (row["status"], row["reason"], row["detail"]) for row in EXPECTED}
    assert found == {path: state for path, state in expected.items() if path.startswith(f"{corpus}/")}


def test_the_states_add_up_to_what_is_on_disk(looked_at):
    corpus, clinic = looked_at
    on_disk = sum(1 for path in (SHARED / corpus).rglob("*") if path.is_file())
    assert sum(clinic.history[0].counts.values()) == on_disk


def test_a_second_look_is_empty(looked_at):
    assert looked_at[1].look().is_empty


@pytest.mark.parametrize("corpus", [corpus for corpus in CORPORA if corpus.startswith("dicom")])
def test_every_file_decodes_or_is_refused_with_the_right_reason_whatever_its_class(corpus):
    """What intake ignores by class is decoded here all the same: cut, odd and damaged pixels of every syntax."""
    if not (SHARED / corpus).is_dir():
        pytest.skip(f"the real files of shared/data/{corpus} are not here")
    expected = {row["path"]: row["decodes"] for row in EXPECTED if row["path"].startswith(corpus) and row["decodes"]}
    assert {path: _decodes((SHARED / path).read_bytes()) for path in expected} == expected


def _decodes(content):
    try:
        luminance = decode_frame(parse_dicom(content)).luminance
    except RefusedError as refusal:
        return refusal.reason.value
    assert luminance.ndim == 2
    assert luminance.dtype in {np.dtype("u1"), np.dtype("u2"), np.dtype("f4")}
    return "yes"


def test_one_picture_in_both_orders_of_bytes_is_the_same_pixels():
    """Three by three pixels in colour are 27 bytes: in words of big endian order the last one stands behind the pad."""
    folder = SHARED / "dicom_odd" / "pydicom"
    if not folder.is_dir():
        pytest.skip("the real files of shared/data/dicom_odd are not here")
    little, big = (
        decode_frame(parse_dicom((folder / f"SC_rgb_small_odd{ending}.dcm").read_bytes())).luminance
        for ending in ("", "_big_endian")
    )
    assert (little == big).all()


def test_crop_spacing_and_frame_of_real_scanners_are_what_their_headers_say(tmp_path):
    clinic = look_into("dicom_us", tmp_path)
    for name, (box, spacing, frame) in PLACED.items():
        entry = clinic.entry(name)
        assert (entry.top, entry.bottom, entry.left, entry.right) == box, name
        assert (entry.spacing_x_mm, entry.spacing_y_mm) == pytest.approx(spacing), name
        assert (entry.frame, entry.frame_count) == frame, name
    taken = {row["path"].split("/", 1)[1] for row in EXPECTED if row["path"].startswith("dicom_us/")}
    assert set(PLACED) == {name for name in taken if clinic.states()[name][0] == "ingested"}


def test_lossless_and_uncompressed_files_of_one_picture_are_the_same_pixels(tmp_path):
    """US1_J2KR is US1_UNCR, losslessly compressed."""
    from clnm.imaging import cache

    clinic = look_into("dicom_us", tmp_path)
    keys = [clinic.entry(f"pydicom-data/US1_{name}.dcm").image_key for name in ("UNCR", "J2KR", "J2KI")]
    plain, lossless, lossy = (cache.read_image(tmp_path / "pixels", key).astype(float) for key in keys)
    assert abs(plain - lossless).max() < 1.0  # the reversible colour transform: within its rounding
    assert 0 < abs(plain - lossy).mean() < 3


def test_the_known_faults_of_busi_are_found(tmp_path):
    clinic = look_into("busi", tmp_path)
    states = clinic.states()
    assert states["benign/benign (433).png"] == ("ingested", "")
    assert states["malignant/malignant (145).png"] == ("quarantined", "content_conflict")
    assert Counter(reason for _, reason in states.values())["mask_empty"] == 6
    labels = {
        roi.label for roi in clinic.history[0].rois if roi.image_key == clinic.entry("benign/benign (58).png").image_key
    }
    assert labels == {1, 2}  # a second mask is a second lesion
