"""Planted faults: one bad item per kind beside the clean cases, with the state and reason intake owes each.

Every faulty file is extra. The clean files of the archive stay as they are.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clnm.entities import FileStatus, ItemKind, Reason
from clnm.simulate.dicom import UID_ROOT
from clnm.simulate.masks import write_mask_file
from clnm.simulate.scanners import CENTERS

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_CUT_BYTES = 4000
_STATUS = {Reason.DUPLICATE_OF: FileStatus.DUPLICATE, Reason.NOT_AN_IMAGE: FileStatus.IGNORED}
"""What is not quarantined."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One planted fault."""

    fault: str
    path: str
    """Relative to the simulation's directory; for a table row, the table's."""
    kind: ItemKind
    status: str
    """The `files.status` expected, empty for a table row."""
    reason: Reason


def plant_faults(directory: Path, images: Mapping[str, Path]) -> list[Fault]:
    """Write the faulty files. `images` names one clean image per center, relative to `directory`."""
    planter = _Planter(directory, images)
    files = {
        "zero_bytes": ("C1/incoming/empty.dcm", b"", Reason.EMPTY),
        "text_as_dicom": ("C2/incoming/letter.dcm", b"Please call the ward.\n" * 40, Reason.NOT_DICOM),
        "truncated_jpeg": ("C3/incoming/cut_1.dcm", planter.altered("C3", 1)[:-_CUT_BYTES], Reason.TRUNCATED_PIXELS),
        "truncated_native": ("C1/incoming/cut_2.dcm", planter.altered("C1", 2)[:-_CUT_BYTES], Reason.TRUNCATED_PIXELS),
        "no_pixels": ("C2/incoming/blank.dcm", planter.altered("C2", 3, drop="PixelData"), Reason.NO_PIXELS),
        "no_patient_id": ("C4/incoming/nobody.dcm", planter.altered("C4", 4, drop="PatientID"), Reason.MISSING_TAG),
        "duplicate": ("C1/incoming/same_again.dcm", planter.clean("C1"), Reason.DUPLICATE_OF),
        "readme": ("C1/incoming/readme.txt", b"Export of the ward's machine.\n", Reason.NOT_AN_IMAGE),
        "mask_unreadable": (planter.mask("C1", "r9"), b"NRRD0004\ngarbage\n" * 9, Reason.MASK_UNREADABLE),
    }
    return [
        *(planter.put(fault, *file) for fault, file in files.items()),
        planter.put_mask("mask_without_image", "C2/masks/IM999999_r1.nrrd", (64, 64), Reason.MASK_WITHOUT_IMAGE),
        planter.put_mask("mask_other_size", planter.mask("C3", "r8"), (64, 64), Reason.MASK_MISMATCH),
        planter.put_mask("mask_empty", planter.mask("C4", "r7"), None, Reason.MASK_EMPTY),
        planter.add_row("row_without_image", "C3"),
    ]


def faults_csv(faults: list[Fault]) -> str:
    """The list of planted faults as `truth/faults.csv`."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["fault", "path", "kind", "status", "reason"])
    writer.writerows([f.fault, f.path, f.kind, f.status, f.reason] for f in faults)
    return stream.getvalue()


@dataclass(frozen=True, slots=True)
class _Planter:
    directory: Path
    images: Mapping[str, Path]

    def put(self, fault: str, place: str, content: bytes, reason: Reason) -> Fault:
        path = self.directory / "archives" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return Fault(fault, f"archives/{place}", ItemKind.FILE, _STATUS.get(reason, FileStatus.QUARANTINED), reason)

    def put_mask(self, fault: str, place: str, size: tuple[int, int] | None, reason: Reason) -> Fault:
        """A square in a grid of `size`, or nothing at all (None) on the center's own frame."""
        scanner = next(known.scanner for known in CENTERS if known.name == place[:2])
        mask = np.zeros(size or scanner.frame_px, dtype=bool)
        if size:
            mask[16:40, 16:40] = True
        write_mask_file(self.directory / "archives" / place, mask, scanner.spacing_mm)
        return Fault(fault, f"archives/{place}", ItemKind.FILE, FileStatus.QUARANTINED, reason)

    def add_row(self, fault: str, center: str) -> Fault:
        """A clinical row of a patient of whom there is no image: the last row again under another id."""
        path = Path("archives", center, "clinical.csv")
        last = (self.directory / path).read_text(encoding="utf-8").splitlines()[-1]
        with (self.directory / path).open("a", encoding="utf-8", newline="") as file:
            file.write("99999999," + last.split(",", 1)[1] + "\n")
        return Fault(fault, path.as_posix(), ItemKind.CASE, "", Reason.UNMATCHED_ROW)

    def clean(self, center: str) -> bytes:
        return (self.directory / self.images[center]).read_bytes()

    def altered(self, center: str, number: int, *, drop: str = "") -> bytes:
        """The center's clean image under UIDs of its own, without the element `drop`."""
        from pydicom import dcmread

        header: Dataset = dcmread(io.BytesIO(self.clean(center)))
        header.StudyInstanceUID = f"{UID_ROOT}.9.{number}"
        header.SeriesInstanceUID = f"{UID_ROOT}.9.{number}.1"
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = f"{UID_ROOT}.9.{number}.1.1"
        if drop:
            del header[drop]
        stream = io.BytesIO()
        header.save_as(stream, enforce_file_format=True)
        return stream.getvalue()

    def mask(self, center: str, reader: str) -> str:
        """Where another reader's mask of the center's clean image would lie."""
        image = self.images[center]
        return f"{center}/masks/{image.name.removesuffix(image.suffix)}_{reader}.nrrd"
