"""Tiny archives for the intake tests: valid bytes of each kind, and a center that is looked at again and again."""

import dataclasses
import io
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

from clnm.archive.intake import CenterArchive, take_in
from clnm.archive.ledger import Ledger
from clnm.archive.looking import look_here
from clnm.archive.pseudonyms import Pseudonyms
from clnm.archive.tables import TableFormat
from clnm.entities import ClinicalVariable, Role, VariableKind
from clnm.imaging import cache

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
US_IMAGE = "1.2.840.10008.5.1.4.1.1.6.1"
US_CLIP = "1.2.840.10008.5.1.4.1.1.3.1"
EXPLICIT = "1.2.840.10008.1.2.1"
ROOT = "1.2.826.0.1.3680043.10.9999"
SHAPE = (24, 32)
AGE = ClinicalVariable("age", VariableKind.NUMBER, unit="years", minimum=0, maximum=120)
EDGE = ClinicalVariable("edge", VariableKind.CATEGORY, levels=("clear", "unclear"))
CALCIFICATION = ClinicalVariable("calcification", VariableKind.FLAG)
VARIABLES = (AGE, EDGE, CALCIFICATION)
FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def region(box=(0, 0, 31, 23), delta=(0.01, 0.02), *, unit=3, kind=1, form=1):
    """One ultrasound region; `box` is left, top, right, bottom, the last column and row included."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = form, kind, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0, item.RegionLocationMaxX1, item.RegionLocationMaxY1 = box
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = unit
    item.PhysicalDeltaX, item.PhysicalDeltaY = delta
    return item


def pixels(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).integers(20, 220, shape, dtype=np.uint8)


def dicom(number=1, *, regions=None, array=None, syntax=EXPLICIT, raw=None, **elements):
    """The bytes of an ultrasound DICOM file; its ids follow from `number`, its pixels, too."""
    array = pixels(number) if array is None else array
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = US_IMAGE, f"{ROOT}.3.{number}"
    dataset.StudyInstanceUID, dataset.PatientID = f"{ROOT}.2.{number}", f"P{number}"
    dataset.PatientName, dataset.Modality = f"Doe^Jane{number}", "US"
    dataset.StudyDate, dataset.StudyTime = "20250301", "101500"
    dataset.Manufacturer, dataset.ManufacturerModelName = "Maker", "Model 7"
    dataset.Rows, dataset.Columns = array.shape[-2:] if array.ndim < 4 else array.shape[1:3]
    if array.ndim == 3:
        dataset.NumberOfFrames = len(array)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = array.dtype.itemsize * 8
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    if regions:
        dataset.SequenceOfUltrasoundRegions = Sequence(regions)
    dataset.PixelData = array.tobytes() if raw is None else raw
    dataset["PixelData"].VR = "OB" if array.dtype.itemsize == 1 else "OW"
    for name, value in elements.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", US_IMAGE)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", ROOT)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def blob(shape=SHAPE, *, top=8, left=10, height=6, width=8, label=1):
    """A rectangular label image."""
    mask = np.zeros(shape, dtype=np.uint8)
    mask[top : top + height, left : left + width] = label
    return mask


def png(array, mode=None, **options):
    file = io.BytesIO()
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(file, "PNG", **options)
    return file.getvalue()


def volume(array, suffix, directory, *, origin=None, spacing=None):
    """A mask as SimpleITK writes it: `.nrrd`, `.nii`, `.nii.gz`, `.mha`."""
    import SimpleITK

    picture = SimpleITK.GetImageFromArray(array)
    if spacing is not None:
        picture.SetSpacing(spacing)
    if origin is not None:
        picture.SetOrigin(origin)
    path = Path(directory) / f"scratch{suffix}"
    SimpleITK.WriteImage(picture, str(path))
    content = path.read_bytes()
    path.unlink()
    return content


def put(directory, files):
    """Write `{relative path: bytes or text}` under a folder."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


@dataclass
class Hospital:
    """A center over a folder; each `look` is a run that knows what the one before it left in the ledger file."""

    directory: Path
    center: CenterArchive
    pseudonyms: Pseudonyms = field(default_factory=lambda: Pseudonyms(b"k" * 32))
    variables: tuple = VARIABLES
    looks: int = 0
    history: list = field(default_factory=list)

    @property
    def archive(self):
        return self.directory / "archive"

    def look(self, *, settle_seconds=0.0, now_ns=None, max_fetched=None, look_at_all=look_here):
        ledger = self.directory / f"ledger-{self.looks}.parquet"
        known = Ledger.read(ledger) if self.looks else Ledger.empty()
        self.looks += 1
        seen_at = FIRST + timedelta(days=self.looks)
        room = cache.new_room(self.directory / "pixels", f"{self.looks}")
        intake = take_in(
            self.center,
            known,
            pseudonyms=self.pseudonyms,
            variables=self.variables,
            outcome="clnm",
            room=room,
            seen_at=seen_at,
            now_ns=int(seen_at.timestamp() * 1e9) if now_ns is None else now_ns,
            settle_seconds=settle_seconds,
            max_fetched=max_fetched,
            look_at_all=look_at_all,
        )
        intake.ledger.write(self.directory / f"ledger-{self.looks}.parquet")
        cache.close_rooms(self.directory / "pixels", {f"{self.looks}"})
        self.history.append(intake)
        return intake

    def again(self, **changes):
        """The same center, configured otherwise."""
        self.center = dataclasses.replace(self.center, **changes)
        return self

    def states(self):
        """Status and reason by path, of every file ever seen."""
        return {name_of(entry): (entry.status.value, entry.reason) for entry in self.history[-1].ledger.entries()}

    def entry(self, name):
        return next(entry for entry in self.history[-1].ledger.entries() if name_of(entry) == name)

    def open_asides(self):
        """(reason, detail) of what is set aside and not resolved, of cases alone."""
        return sorted((a.reason, a.detail) for a in self.history[-1].ledger.asides if a.kind == "case")


def name_of(entry):
    return entry.path.decode("utf-8", "backslashreplace")


def hospital(directory, files, *, role=Role.TRAIN, masks=(), tables=None, columns=None, values=None, table=None):
    """A center with these files in its archive; `tables` are written beside it and configured by key."""
    put(directory / "archive", files)
    named = {}
    for key, (name, content) in (tables or {}).items():
        put(directory, {name: content})
        named[key] = directory / name
    center = CenterArchive(
        name="C1",
        role=role,
        archive=(directory / "archive",),
        masks=tuple(directory / mask for mask in masks),
        columns=columns,
        values=values,
        table=TableFormat(**(table or {})),
        **named,
    )
    return Hospital(directory, center)
