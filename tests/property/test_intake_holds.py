"""Whatever bytes a hospital's disk returns: no unhandled error, one state per file, the rest of the batch unharmed."""

import functools
import io
import tempfile
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from clnm.archive.tables import TableFormat, Vocabulary, read_day, read_number, read_sheet
from clnm.entities import FileStatus, Reason
from clnm.errors import ConfigurationError
from clnm.imaging.masks import read_mask
from clnm.imaging.refusal import RefusedError
from tests.unit.intake_archives import SHAPE, blob, dicom, hospital, pixels, png, region, volume
from tests.unit.test_intake_walk import tarred, zipped

FEW = settings(max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@functools.cache
def seeds():
    """Valid files of every kind that intake decodes."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels.encoders.base import get_encoder

    with tempfile.TemporaryDirectory() as folder:
        volumes = {f"a_mask{suffix}": volume(blob(), suffix, folder) for suffix in (".nrrd", ".nii.gz", ".nii", ".mha")}
    jpeg, packed = io.BytesIO(), get_encoder("1.2.840.10008.1.2.5")
    Image.fromarray(pixels(1)).save(jpeg, "JPEG")
    options = {
        "rows": SHAPE[0], "columns": SHAPE[1], "samples_per_pixel": 1, "bits_allocated": 8, "bits_stored": 8,
        "pixel_representation": 0, "photometric_interpretation": "MONOCHROME2", "number_of_frames": 1,
    }  # fmt: skip
    rle = packed.encode(pixels(1), encoding_plugin="pydicom", **options)
    return {
        "native.dcm": dicom(1, regions=[region((4, 2, 27, 21))]),
        "clip.dcm": dicom(1, array=pixels(1, (3, *SHAPE))),
        "jpeg.dcm": dicom(1, syntax="1.2.840.10008.1.2.4.50", raw=encapsulate([jpeg.getvalue()])),
        "rle.dcm": dicom(1, syntax="1.2.840.10008.1.2.5", raw=encapsulate([rle])),
        "implicit.dcm": dicom(1, syntax="1.2.840.10008.1.2"),
        "sixteen.dcm": dicom(1, array=pixels(1).astype(np.uint16) * 3),
        "a_mask.png": png(blob(label=255)),
        **volumes,
    }


KINDS = [
    "native.dcm", "clip.dcm", "jpeg.dcm", "rle.dcm", "implicit.dcm", "sixteen.dcm",
    "a_mask.png", "a_mask.nrrd", "a_mask.nii.gz", "a_mask.nii", "a_mask.mha",
]  # fmt: skip


@st.composite
def mutations(draw, name, spare=0):
    """A valid file with bytes flipped, cut out, inserted or doubled; the first `spare` bytes are left as they are."""
    content = bytearray(seeds()[name])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(min(spare, len(content)), len(content)))
        kind = draw(st.sampled_from(["flip", "cut", "insert", "end", "double", "ones"]))
        if kind == "flip" and at < len(content):
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del content[at : at + draw(st.integers(1, 64))]
        elif kind == "insert":
            content[at:at] = draw(st.binary(min_size=1, max_size=16))
        elif kind == "end":
            del content[at:]
        elif kind == "double":
            content[at:at] = content[at : at + draw(st.integers(1, 64))]
        else:
            content[at : at + 4] = b"\xff" * 4
    return bytes(content)


def look_at_one(name, content):
    """A look over this file beside good ones; says which state it ended in."""
    with tempfile.TemporaryDirectory() as folder:
        good = {"good.dcm": dicom(7), "good_mask.png": png(blob()), "a.dcm": dicom(8)}
        clinic = hospital(Path(folder), {**good, name: content}, masks=["archive"] if "mask" in name else ())
        intake = clinic.look()
        states = clinic.states()
        assert states["good.dcm"] == states["good_mask.png"] == ("ingested", "")
        assert sum(intake.counts.values()) == len(states) == len(intake.files) == 4
        assert clinic.look().is_empty
        return states[name]


@pytest.mark.parametrize("name", KINDS)
def test_the_files_that_are_mutated_are_good(name):
    assert look_at_one(name, seeds()[name]) == ("ingested", "")


@pytest.mark.parametrize("name", KINDS)
def test_a_mutated_file_ends_in_one_state_with_a_known_reason(name):
    @FEW
    @given(mutations(name))
    def holds(content):
        status, reason = look_at_one(name, content)
        assert status in {FileStatus.INGESTED, FileStatus.IGNORED, FileStatus.QUARANTINED}
        assert (status == FileStatus.INGESTED) == (reason == "")
        assert reason in {"", *Reason}

    holds()


@pytest.mark.parametrize("name", ["native.dcm", "jpeg.dcm", "implicit.dcm"])
def test_a_file_mutated_in_its_data_set_alone_ends_in_one_state(name):
    """The meta header left as it is, so that the parser goes on into the data set and the pixels."""

    @FEW
    @given(mutations(name, spare=340))
    def holds(content):
        assert look_at_one(name, content)[1] in {"", *Reason}

    holds()


@FEW
@given(
    st.binary(max_size=600),
    st.sampled_from([b"", b"\x00" * 128 + b"DICM", b"\x08\x00\x05\x00", b"NRRD0005\n", b"\x89PNG\r\n\x1a\n"]),
)
def test_any_bytes_end_in_one_state(content, start):
    assert look_at_one("any", start + content)[1] in {"", *Reason}


@FEW
@given(st.data(), st.sampled_from(["x.zip", "x.tar", "x.tar.gz"]))
def test_a_mutated_archive_gives_members_or_one_refused_file(data, name):
    make = {"x.zip": zipped, "x.tar": tarred, "x.tar.gz": lambda members: tarred(members, "w:gz")}[name]
    content = bytearray(make([("p/a.dcm", dicom(1)), ("p/b.txt", b"text")]))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        else:
            del content[at : at + data.draw(st.integers(1, 2000))]
            content += b"\x00" * (not content)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clinic = hospital(Path(folder), {"good.dcm": dicom(7), name: bytes(content)})
        intake = clinic.look()
        assert clinic.states()["good.dcm"] == ("ingested", "")
        assert sum(intake.counts.values()) == len(intake.files) >= 1
        assert {file.reason for file in intake.files} <= {"", *Reason}
        assert clinic.look().is_empty


@FEW
@given(st.binary(max_size=300), st.sampled_from([".csv", ".xlsx", ".parquet"]))
def test_any_bytes_are_a_table_or_a_sentence(content, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"t{suffix}"
        path.write_bytes(content)
        try:
            sheet = read_sheet(path, Vocabulary({}, {}, TableFormat()), center="C1", key="clinical")
        except ConfigurationError as error:
            told = str(error)
        else:
            told = "center C1: " if all(isinstance(cell, str) for row in sheet.rows for cell in row) else ""
        assert told.startswith("center C1: ")


@FEW
@given(st.text(max_size=20), st.booleans())
def test_any_text_is_a_day_of_these_centuries_or_none(text, dayfirst):
    day = read_day(text, dayfirst=dayfirst)
    assert day is None or (1899 <= day.year <= 2201 and day.tzinfo is not None)
    number = read_number(text, ".")
    assert number is None or np.isfinite(number)


@FEW
@given(st.binary(max_size=400), st.sampled_from([".nrrd", ".nii.gz", ".png", ".seg.nrrd", ".mha"]))
def test_any_bytes_are_a_mask_or_refused(content, suffix):
    start = {
        ".nrrd": b"NRRD0005\n",
        ".seg.nrrd": b"NRRD0005\ntype: uchar\n",
        ".nii.gz": b"",
        ".png": b"\x89PNG",
        ".mha": b"NDims = 2\n",
    }
    body = zlib.compress(content, wbits=31) if suffix == ".nii.gz" else start[suffix] + content
    try:
        labels = read_mask(body, f"m{suffix}")
    except RefusedError as refusal:
        is_known = refusal.reason in {Reason.EMPTY, Reason.MASK_UNREADABLE, Reason.TOO_LARGE}
    else:
        is_known = all(layer.ndim == 2 for layer in labels.layers)
    assert is_known
