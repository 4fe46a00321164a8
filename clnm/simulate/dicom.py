"""Writing cases as hospitals do: DICOM Ultrasound files with a burned-in name, in each center's own style.

Every name, number and institution is made up; UIDs come from a made-up root and name no real machine.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clnm.simulate.cohort import Case
from clnm.simulate.scanners import Center, Scanner

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

UID_ROOT = "1.2.826.0.1.3680043.10.9999"
_US_IMAGE = "1.2.840.10008.5.1.4.1.1.6.1"
_US_MULTIFRAME = "1.2.840.10008.5.1.4.1.1.3.1"
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
_JPEG_QUALITY = 93
_LAST_NAMES = (
    "Abendroth",
    "Brackwater",
    "Calloway",
    "Dunmore",
    "Eschenbach",
    "Fairweather",
    "Grimsdottir",
    "Hollowell",
    "Ivarsen",
    "Jablonski",
    "Kestrel",
    "Lindqvist",
    "Marlowe",
    "Nightingale",
    "Oberwald",
    "Pemberton",
    "Quillfeather",
    "Rosenhain",
    "Silverton",
    "Thistlewood",
    "Underhill",
    "Vandermeer",
    "Winterbourne",
    "Yarborough",
    "Zimmerhof",
)
_FIRST_NAMES = {
    "female": (
        "Adela",
        "Brunhild",
        "Cordula",
        "Dorothea",
        "Elspeth",
        "Freya",
        "Griselda",
        "Henrike",
        "Imogen",
        "Jolanda",
    ),
    "male": (
        "Alaric",
        "Balthasar",
        "Cedric",
        "Dietmar",
        "Evander",
        "Florian",
        "Gideon",
        "Hartwig",
        "Ignatius",
        "Jasper",
    ),
}


@dataclass(frozen=True, slots=True)
class Person:
    """A made-up identity."""

    patient_id: str
    last_name: str
    first_name: str
    birth_date: str


def invent_person(center: Center, case: Case, generator: np.random.Generator) -> Person:
    """A name, a birth date that fits the age, and an id in the center's style, unique in the center."""
    number = case.index
    styles = {
        "C1": f"AGH-{480000 + 37 * number}",
        "C2": f"{2024 + number % 3}/{number:05d}",
        "C3": f"{70000000 + 1013 * number}",
        "C4": f"DB{number:04d}{'KMPRTX'[number % 6]}",
    }
    names = _FIRST_NAMES[case.findings["sex"]]
    year = case.exam_at.year - case.age_years - 1
    return Person(
        styles[center.name],
        _LAST_NAMES[int(generator.integers(len(_LAST_NAMES)))],
        names[int(generator.integers(len(names)))],
        f"{year:04d}{int(generator.integers(1, 13)):02d}{int(generator.integers(1, 29)):02d}",
    )


def image_path(center: Center, case: Case, person: Person) -> Path:
    """Where the center keeps the image, relative to its archive folder; the stem is unique in the center."""
    number, day = case.index, case.exam_at
    if center.name == "C1":
        return Path(f"{day:%Y}", f"{day:%m}", f"US_{number:04d}.dcm")
    if center.name == "C2":
        return Path(f"{person.last_name.upper()}_{person.first_name.upper()}", f"ST{number:03d}", f"IM{number:06d}")
    if center.name == "C3":
        return Path(f"export_{number // 10:02d}", f"us-{number:04d}-{'abc'[number % 3]}.dcm")
    return Path(
        "clips" if is_clip(center, case) else f"stills/{day:%Y%m}", f"img{number:04d}" + (".DCM", "")[number % 2]
    )


def is_clip(center: Center, case: Case) -> bool:
    """The second and third patient of C4 have a clip of four frames."""
    return center.name == "C4" and case.index in {1, 2}


def mask_stem(center: Center, case: Case, path: Path) -> str:
    """The stem that masks of an image carry; for a clip it names the annotated frame."""
    stem = path.name.removesuffix(path.suffix)
    return f"{stem}_f{ANNOTATED_FRAME:03d}" if is_clip(center, case) else stem


ANNOTATED_FRAME = 2
"""Of a clip: the frame whose number the mask's stem gives."""


def draw_frame(
    region: NDArray[np.uint8], center: Center, scanner: Scanner, person: Person, day: datetime
) -> NDArray[np.uint8]:
    """The screen as it is saved, shape `frame_px`: the region, and around it name, id, date, settings and rulers."""
    from PIL import Image, ImageDraw, ImageFont

    rows, columns = scanner.frame_px
    top, left = scanner.origin_px
    height, width = region.shape
    screen = Image.new("L", (columns, rows), 0)
    pen = ImageDraw.Draw(screen)
    large, small = ImageFont.load_default(15), ImageFont.load_default(11)
    pen.text((8, 4), f"{person.last_name.upper()}, {person.first_name}", font=large, fill=235)
    pen.text((8, 22), f"ID {person.patient_id}   * {person.birth_date}", font=small, fill=210)
    pen.text((columns // 2, 4), center.institution, font=small, fill=210)
    pen.text((columns // 2, 22), f"{day:%d.%m.%Y %H:%M}   MI 0.9  TIs 0.3", font=small, fill=210)
    pen.text(
        (6, top + 10),
        f"{scanner.frequency_mhz:.0f}M\nDR{scanner.dynamic_range_db:.0f}\nG{50 + scanner.gain_db:.0f}",
        font=small,
        fill=180,
    )
    pen.polygon([(8, rows - 20), (18, rows - 6), (28, rows - 20)], fill=200)
    pen.text((34, rows - 20), f"{scanner.manufacturer} {scanner.model}", font=small, fill=200)
    for step, grey in enumerate(range(255, 0, -4)):
        pen.line(
            [(left + width + 8, top + 20 + 2 * step), (left + width + 18, top + 20 + 2 * step)], fill=grey, width=2
        )
    for centimetre in range(int(height * scanner.spacing_mm / 10) + 1):
        y = top + centimetre * 10 / scanner.spacing_mm
        pen.line([(left + width + 24, y), (left + width + 30, y)], fill=220)
        pen.text((left + width + 34, y - 6), str(centimetre), font=small, fill=220)
    frame = np.asarray(screen).copy()
    frame[top : top + height, left : left + width] = region
    return frame


def make_dataset(center: Center, case: Case, scanner: Scanner, person: Person) -> Dataset:
    """The header of a case: patient, study, machine, and the ultrasound region with its spacing in centimetres."""
    from pydicom.dataset import Dataset, FileMetaDataset

    place = int(center.name[1:])
    study_uid = f"{UID_ROOT}.{place}.{case.index + 1}"
    day, clock = f"{case.exam_at:%Y%m%d}", f"{case.exam_at:%H%M%S}"
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.ImplementationClassUID = f"{UID_ROOT}.0"
    header.file_meta.ImplementationVersionName = "SIMULATED"
    header.SOPClassUID = _US_MULTIFRAME if is_clip(center, case) else _US_IMAGE
    header.SOPInstanceUID = f"{study_uid}.1.1"
    header.StudyInstanceUID, header.SeriesInstanceUID = study_uid, f"{study_uid}.1"
    header.ImageType = ["ORIGINAL", "PRIMARY", "", "0001"]
    header.StudyDate = header.SeriesDate = header.ContentDate = day
    header.StudyTime = header.SeriesTime = header.ContentTime = clock
    header.AccessionNumber = f"A{place}{case.index:06d}"
    header.Modality = "US"
    header.Manufacturer, header.ManufacturerModelName = scanner.manufacturer, scanner.model
    header.InstitutionName = center.institution
    header.ReferringPhysicianName = "Referrer^Invented"
    header.PatientName = f"{person.last_name}^{person.first_name}"
    header.PatientID, header.PatientBirthDate = person.patient_id, person.birth_date
    header.PatientSex = case.findings["sex"][0].upper()
    header.StudyID, header.SeriesNumber, header.InstanceNumber = str(case.index + 1), 1, 1
    header.SequenceOfUltrasoundRegions = [_region(scanner)]
    return header


def write_dicom(path: Path, header: Dataset, frames: list[NDArray[np.uint8]], *, style: str) -> None:
    """Write `frames` (each (rows, columns), grey) as `style`: `grey`, `rgb`, `jpeg` or `jpeg_colour`."""
    from pydicom.encaps import encapsulate

    rows, columns = frames[0].shape
    is_colour, is_jpeg = style in {"rgb", "jpeg_colour"}, style.startswith("jpeg")
    header.SamplesPerPixel = 3 if is_colour else 1
    header.PhotometricInterpretation = {"rgb": "RGB", "jpeg_colour": "YBR_FULL_422"}.get(style, "MONOCHROME2")
    if is_colour:
        header.PlanarConfiguration = 0
    if len(frames) > 1:
        header.NumberOfFrames, header.FrameTime = len(frames), 33.3
        header.FrameIncrementPointer = 0x00181063
    header.Rows, header.Columns = rows, columns
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 8, 8, 7, 0
    if is_jpeg:
        header.LossyImageCompression = "01"
        header.PixelData = encapsulate([_jpeg(frame, is_colour=is_colour) for frame in frames])
        header["PixelData"].VR = "OB"
    else:
        pixels = b"".join((np.repeat(f[:, :, None], 3, axis=2) if is_colour else f).tobytes() for f in frames)
        header.PixelData = pixels + b"\0" * (len(pixels) % 2)
        header["PixelData"].VR = "OB"
    header.file_meta.TransferSyntaxUID = _JPEG_BASELINE if is_jpeg else _EXPLICIT_LITTLE_ENDIAN
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)


def _region(scanner: Scanner) -> Dataset:
    """One item of SequenceOfUltrasoundRegions: tissue, 2-D, units of centimetres (PS3.3 C.8.5.5)."""
    from pydicom.dataset import Dataset

    top, left = scanner.origin_px
    height, width = scanner.region_px
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    region.RegionLocationMinX0, region.RegionLocationMinY0 = left, top
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = left + width - 1, top + height - 1
    region.ReferencePixelX0, region.ReferencePixelY0 = 0, 0
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = scanner.spacing_mm / 10
    region.TransducerFrequency = round(scanner.frequency_mhz * 1000)
    return region


def _jpeg(frame: NDArray[np.uint8], *, is_colour: bool) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    if is_colour:
        Image.fromarray(frame).convert("RGB").save(stream, "JPEG", quality=_JPEG_QUALITY, subsampling=1)
    else:
        Image.fromarray(frame).save(stream, "JPEG", quality=_JPEG_QUALITY)
    return stream.getvalue()
