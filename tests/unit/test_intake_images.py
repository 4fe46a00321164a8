"""DICOM and picture files: checks before decoding, luminance and spacing right, twins and conflicts told."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from clnm.archive.headers import demand_ultrasound, read_header
from clnm.entities import Reason, SpacingSource
from clnm.imaging import cache
from clnm.imaging.decode import decode_frame, luminance_of_color
from clnm.imaging.dicom import parse_dicom
from clnm.imaging.pictures import read_picture
from clnm.imaging.refusal import RefusedError
from clnm.imaging.regions import image_regions
from tests.unit.intake_archives import EXPLICIT, SHAPE, US_CLIP, dicom, hospital, pixels, png, put, region

JPEG = "1.2.840.10008.1.2.4.50"
RLE = "1.2.840.10008.1.2.5"
DEFLATED = "1.2.840.10008.1.2.1.99"
MPEG4 = "1.2.840.10008.1.2.4.102"
CT = "1.2.840.10008.5.1.4.1.1.2"
ZEROS_IN_ITEMS = "feff00e0 00000000 feff00e0 04000000 00000000 feffdde0 00000000"
SCREENSHOT = "1.2.840.10008.5.1.4.1.1.7"


def frame_of(content, **options):
    return decode_frame(parse_dicom(content), **options)


def see(content):
    """What intake does with a file, in its order."""
    file = parse_dicom(content)
    demand_ultrasound(file.dataset)
    file.demand_pixels()
    read_header(file.dataset)
    return decode_frame(file)


def refusal_of(content):
    with pytest.raises(RefusedError) as caught:
        see(content)
    return caught.value.reason, caught.value.detail


def jpeg_dicom(array, **elements):
    from pydicom.encaps import encapsulate

    file = io.BytesIO()
    Image.fromarray(array).save(file, "JPEG", quality=95)
    colors = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422", "PlanarConfiguration": 0}
    options = (colors if array.ndim == 3 else {}) | elements
    return dicom(
        1, array=array[..., 0] if array.ndim == 3 else array, syntax=JPEG, raw=encapsulate([file.getvalue()]), **options
    )


def test_native_pixels_come_out_as_they_are():
    frame = frame_of(dicom(1))
    assert (frame.luminance == pixels(1)).all()
    assert (frame.index, frame.count, frame.transfer_syntax) == (0, 1, EXPLICIT)


def test_sixteen_bits_and_big_endian_come_out_in_the_machines_order():
    array = pixels(1).astype(np.uint16) * 257
    assert (frame_of(dicom(1, array=array)).luminance == array).all()
    frame = frame_of(dicom(1, array=array, syntax="1.2.840.10008.1.2.2", raw=array.byteswap().tobytes()))
    assert frame.luminance.dtype == np.dtype("uint16")
    assert frame.luminance.dtype.isnative
    assert (frame.luminance == array).all()


def test_dark_on_bright_is_turned_by_its_depth_and_not_by_its_content():
    frame = frame_of(dicom(1, PhotometricInterpretation="MONOCHROME1"))
    assert (frame.luminance == 255 - pixels(1)).all()


def test_a_palette_is_looked_up_before_it_is_taken_for_grey():
    ramp = np.arange(255, -1, -1).astype(np.uint8).tobytes()
    color = {}
    for name in ("Red", "Green", "Blue"):
        color[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 8]
        color[f"{name}PaletteColorLookupTableData"] = ramp
    frame = frame_of(dicom(1, PhotometricInterpretation="PALETTE COLOR", **color))
    assert (frame.luminance == 255 - pixels(1)).all()


def test_a_jpegs_own_luma_is_taken_and_no_color_is_converted_twice():
    rng = np.random.default_rng(0)
    smooth = np.clip(rng.normal(120, 30, (6, 8, 3)), 0, 255).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    frame = frame_of(jpeg_dicom(smooth))
    truth = smooth @ np.array([0.299, 0.587, 0.114])
    assert np.abs(frame.luminance - truth).mean() < 2
    assert frame.decoder.startswith("pillow ")


def test_grey_that_was_saved_in_color_is_the_same_grey():
    grey = pixels(1)
    assert (luminance_of_color(np.stack([grey] * 3, axis=-1)) == grey).all()
    assert read_picture(png(np.stack([grey] * 3, axis=-1))).luminance.dtype == np.uint8


def test_color_is_weighted_as_bt601():
    color = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]], dtype=np.uint8)
    assert luminance_of_color(color)[0] == pytest.approx([76.245, 149.685, 29.07, 9.0], abs=1e-3)


def test_of_a_clip_one_frame_is_taken_the_stated_or_the_middle_one():
    clip = pixels(3, (5, *SHAPE))
    content = dicom(1, array=clip, SOPClassUID=US_CLIP)
    assert (frame_of(content).luminance == clip[2]).all()
    assert (frame_of(content, frame=4).luminance == clip[4]).all()
    assert frame_of(content, frame=7).index == 2  # no such frame


REFUSED = {
    "empty": (lambda: b"", Reason.EMPTY, ""),
    "text": (lambda: b"no dicom at all, " * 20, Reason.NOT_DICOM, ""),
    "cut in the preamble": (lambda: dicom(1)[:100], Reason.NOT_DICOM, ""),
    "cut in the meta": (lambda: dicom(1)[:200], Reason.TRUNCATED_HEADER, ""),
    "cut in the header": (lambda: dicom(1)[:500], Reason.TRUNCATED_HEADER, ""),
    "cut in native pixels": (lambda: dicom(1)[:-100], Reason.TRUNCATED_PIXELS, "668 of 768 bytes"),
    "cut in encapsulated pixels": (
        lambda: jpeg_dicom(pixels(1))[:-9],
        Reason.TRUNCATED_PIXELS,
        "no sequence delimiter at the end",
    ),
    "no pixels": (lambda: dicom(1, PixelData=None), Reason.NO_PIXELS, ""),
    "no patient": (lambda: dicom(1, PatientID=None), Reason.MISSING_TAG, "PatientID"),
    "blank patient": (lambda: dicom(1, PatientID=" "), Reason.MISSING_TAG, "PatientID"),
    "no study": (lambda: dicom(1, StudyInstanceUID=None), Reason.MISSING_TAG, "StudyInstanceUID"),
    "no rows": (lambda: dicom(1, Rows=None), Reason.MISSING_TAG, "Rows"),
    "no size": (lambda: dicom(1, Rows=0), Reason.MALFORMED, "Rows"),
    "another modality": (lambda: dicom(1, SOPClassUID=CT), Reason.SOP_CLASS, CT),
    "screenshot of a CT": (lambda: dicom(1, SOPClassUID=SCREENSHOT, Modality="CT"), Reason.SOP_CLASS, SCREENSHOT),
    "a class of a vendor's": (lambda: dicom(1, SOPClassUID="1.3.12.2.1107.5.9.1"), Reason.SOP_CLASS, ""),
    "film": (lambda: dicom(1, syntax=MPEG4, raw=b"\xfe\xff\x00\xe0\x00\x00\x00\x00"), Reason.VIDEO_CODEC, MPEG4),
    "too large": (lambda: dicom(1, Rows=40_000, Columns=40_000), Reason.TOO_LARGE, "40000 x 40000 x 1"),
    "too many frames": (lambda: dicom(1, NumberOfFrames=100_000), Reason.TOO_LARGE, "24 x 32 x 100000"),
    "another size inside the JPEG": (
        lambda: jpeg_dicom(pixels(1, (48, 64)), Rows=24, Columns=32),
        Reason.SIZE_MISMATCH,
        "48 x 64 for 24 x 32",
    ),
    "a JPEG of zeros": (
        lambda: dicom(1, syntax=JPEG, raw=bytes.fromhex(ZEROS_IN_ITEMS)),
        Reason.DECODE_FAILED,
        "no start of frame",
    ),
    "pixels that are not encapsulated": (
        lambda: dicom(1).replace(b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2.5\x00", 1),
        Reason.MALFORMED,
        "pixels are not encapsulated",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_cannot_be_used_is_refused_with_its_reason(case):
    make, reason, detail = REFUSED[case]
    assert refusal_of(make()) == (reason, detail)


def test_a_deflated_file_is_refused_before_it_is_inflated():
    import zlib

    whole = dicom(1)
    length = struct.unpack_from("<L", whole, 140)[0]
    meta, rest = whole[: 144 + length], whole[144 + length :]
    value = DEFLATED.encode()
    meta = meta.replace(b"UI\x14\x001.2.840.10008.1.2.1\x00", b"UI" + struct.pack("<H", len(value)) + value, 1)
    meta = meta[:140] + struct.pack("<L", length + len(value) - 20) + meta[144:]
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(rest + b"\x00" * 50_000_000) + packer.flush()
    assert refusal_of(meta + packed) == (Reason.UNSUPPORTED_SYNTAX, DEFLATED)


def test_a_file_without_preamble_is_read_where_it_says_what_it_is():
    content = dicom(1)
    length = struct.unpack_from("<L", content, 140)[0]
    assert (frame_of(content[132:]).luminance == pixels(1)).all()  # meta, no preamble
    assert (frame_of(content[144 + length :]).luminance == pixels(1)).all()  # the bare data set


def test_a_bare_data_set_without_a_class_has_no_meta():
    content = dicom(1, SOPClassUID=None, SpecificCharacterSet="ISO_IR 100")
    length = struct.unpack_from("<L", content, 140)[0]
    assert refusal_of(content[144 + length :]) == (Reason.NO_META, "")


@pytest.mark.parametrize(
    ("day", "clock", "zone", "moment"),
    [
        ("20250301", "101500", "", "2025-03-01 10:15:00+00:00"),
        ("20250301", "101500.250000", "+0100", "2025-03-01 09:15:00+00:00"),
        ("2025.03.01", "10:15", "", "2025-03-01 10:15:00+00:00"),
        ("20250301", "", "-0500", "2025-03-01 05:00:00+00:00"),
        ("99991231", "235959", "-0500", "None"),
        ("00010101", "000000", "+0500", "None"),
        ("19000101", "120000", "", "None"),
        ("2025031", "120000", "", "None"),
        ("", "", "", "None"),
    ],
)
def test_a_moment_of_the_header_is_utc_or_nothing(day, clock, zone, moment):
    dataset = parse_dicom(dicom(1)).dataset
    dataset.StudyDate, dataset.StudyTime, dataset.TimezoneOffsetFromUTC = day, clock, zone
    assert str(read_header(dataset).acquired_at) == moment


def test_a_scanner_named_after_a_person_is_not_told():
    dataset = parse_dicom(dicom(1, ManufacturerModelName="Room of Dr Mueller", PatientName="Mueller^Anna")).dataset
    header = read_header(dataset)
    assert (header.manufacturer, header.model) == ("Maker", "")


def spacing_of(**elements):
    frame = parse_dicom(dicom(1, **elements))
    found = image_regions(frame.dataset, *SHAPE)[0]
    return found.spacing_x_mm, found.spacing_y_mm, found.source


@pytest.mark.parametrize(
    ("elements", "spacing"),
    [
        ({"regions": [region(delta=(0.01, 0.02))]}, (0.1, 0.2, SpacingSource.REGIONS)),
        ({"regions": [region(delta=(-0.01, 0.02))]}, (0.1, 0.2, SpacingSource.REGIONS)),
        ({"regions": [region(delta=(0.01, 0.0))]}, (None, None, SpacingSource.NONE)),
        ({"regions": [region(unit=4)]}, (None, None, SpacingSource.NONE)),
        ({"regions": [region(form=4, kind=10)]}, (None, None, SpacingSource.NONE)),
        ({"regions": [region((0, 0, 60, 40))]}, (None, None, SpacingSource.NONE)),
        ({"regions": [region((0, 0, 32, 24))]}, (0.1, 0.2, SpacingSource.REGIONS)),
        ({"regions": [region((5, 5, 4, 9))]}, (None, None, SpacingSource.NONE)),
        ({"PixelSpacing": [0.2, 0.1]}, (0.1, 0.2, SpacingSource.PIXEL_SPACING)),
        ({"PixelSpacing": [0.0, 0.1]}, (None, None, SpacingSource.NONE)),
        ({"regions": [region()], "PixelSpacing": [9.0, 9.0]}, (0.1, 0.2, SpacingSource.REGIONS)),
        ({}, (None, None, SpacingSource.NONE)),
    ],
)
def test_spacing_is_the_regions_else_the_pixels_else_unknown_and_never_made_up(elements, spacing):
    x, y, source = spacing_of(**elements)
    assert (pytest.approx(x) if x else x, pytest.approx(y) if y else y, source) == spacing


def test_a_trace_beside_the_image_is_no_region_of_it():
    dataset = parse_dicom(dicom(1, regions=[region((0, 20, 31, 23), kind=10, form=4), region((0, 0, 31, 15))])).dataset
    assert [(found.top, found.bottom) for found in image_regions(dataset, *SHAPE)] == [(0, 16)]


def test_one_image_twice_is_a_duplicate(tmp_path):
    clinic = hospital(tmp_path, {"a.dcm": dicom(1), "b/copy.dcm": dicom(1)})
    assert len(clinic.look().images) == 1
    assert clinic.states() == {"a.dcm": ("ingested", ""), "b/copy.dcm": ("duplicate", "duplicate_of")}


def test_one_uid_with_two_contents_is_a_conflict_and_the_first_stays(tmp_path):
    clinic = hospital(tmp_path, {"a.dcm": dicom(1), "b.dcm": dicom(1, array=pixels(50))})
    intake = clinic.look()
    assert clinic.states() == {"a.dcm": ("ingested", ""), "b.dcm": ("quarantined", "uid_conflict")}
    kept = cache.read_image(tmp_path / "pixels", intake.images[0].image_key)
    assert (kept == pixels(1)).all()
    assert clinic.look().is_empty


def index_of(*lines):
    return ("images.csv", "image,patient,spacing_mm\n" + "\n".join(lines) + "\n")


def test_one_picture_under_two_patients_is_a_conflict(tmp_path):
    files = {"a.png": png(pixels(1)), "b.png": png(pixels(1)), "c.png": png(pixels(2))}
    rows = index_of("archive/a.png,P1,0.1", "archive/b.png,P2,0.1", "archive/c.png,P2,0.1")
    clinic = hospital(tmp_path, files, tables={"index": rows})
    assert len(clinic.look().images) == 2
    assert clinic.states()["b.png"] == ("quarantined", "content_conflict")


def test_one_picture_twice_under_one_patient_is_a_duplicate(tmp_path):
    files = {"a.png": png(pixels(1)), "b.png": png(pixels(1))}
    clinic = hospital(tmp_path, files, tables={"index": index_of("archive/a.png,P1,", "archive/b.png,P1,")})
    assert len(clinic.look().images) == 1
    assert clinic.states()["b.png"] == ("duplicate", "duplicate_of")


@pytest.mark.parametrize("suffix", ["PNG", "JPEG", "BMP", "TIFF"])
def test_picture_files_are_read_as_they_are(suffix):
    file = io.BytesIO()
    Image.fromarray(pixels(1)).save(file, suffix)
    frame = read_picture(file.getvalue())
    assert frame.transfer_syntax == f"picture/{suffix.lower()}"
    assert np.abs(frame.luminance.astype(int) - pixels(1)).mean() < (12 if suffix == "JPEG" else 1e-9)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"GIF89a", Reason.DECODE_FAILED),
        (png(pixels(1, (200, 200)))[:5000], Reason.TRUNCATED_PIXELS),
        (png(pixels(1))[:20], Reason.DECODE_FAILED),
    ],
)
def test_a_picture_that_cannot_be_used_is_refused_with_its_reason(content, reason):
    with pytest.raises(RefusedError) as caught:
        read_picture(content)
    assert caught.value.reason is reason


def test_a_picture_that_states_a_size_beyond_all_pictures_is_refused_undecoded():
    for side in (8_000, 60_000):
        header = struct.pack(">LLBBBBB", side, side, 8, 0, 0, 0, 0)
        import zlib

        chunk = struct.pack(">L", 13) + b"IHDR" + header + struct.pack(">L", zlib.crc32(b"IHDR" + header))
        with pytest.raises(RefusedError) as caught:
            read_picture(b"\x89PNG\r\n\x1a\n" + chunk + png(pixels(1))[33:])
        assert caught.value.reason is Reason.TOO_LARGE


def test_a_picture_whose_values_are_no_numbers_is_refused():
    file = io.BytesIO()
    Image.fromarray(np.full(SHAPE, np.nan, dtype=np.float32)).save(file, "TIFF")
    with pytest.raises(RefusedError) as caught:
        read_picture(file.getvalue())
    assert (caught.value.reason, caught.value.detail) == (Reason.DECODE_FAILED, "not finite")


def test_a_picture_that_the_index_does_not_name_is_ignored_and_taken_when_it_does(tmp_path):
    files = {"a.png": png(pixels(1)), "b.png": png(pixels(2))}
    clinic = hospital(tmp_path, files, tables={"index": index_of("archive/a.png,P1,0.1")})
    assert len(clinic.look().images) == 1
    assert clinic.states()["b.png"] == ("ignored", "not_in_index")
    put(tmp_path, {"images.csv": index_of("archive/a.png,P1,0.1", "archive/b.png,P2,0.2")[1]})
    second = clinic.look()
    assert [image.spacing_x_mm for image in second.images] == [0.2]
    assert clinic.look().is_empty


@pytest.mark.parametrize("tag", [b"\x28\x00\x04\x00CS", b"\x28\x00\x10\x00US", b"\x08\x00\x60\x00CS"])
def test_an_element_of_a_type_that_does_not_exist_refuses_its_file_alone(tmp_path, tag):
    content = dicom(1).replace(tag, tag[:4] + b"KS", 1)
    clinic = hospital(tmp_path, {"a.dcm": content, "b.dcm": dicom(2)})
    clinic.look()
    assert clinic.states()["b.dcm"] == ("ingested", "")
    assert clinic.states()["a.dcm"][0] in {"quarantined", "ingested"}
    assert clinic.states()["a.dcm"][1] in {"malformed", ""}  # where the type matters not, the file is good
