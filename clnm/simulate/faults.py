"""Planted faults: one bad item per kind beside the clean cases, with the state and reason intake owes each.

Every faulty item is extra: a file of its own, a member of an archive of its own, or a row of a patient without images.
The clean files of the archive stay as they are.
"""

from __future__ import annotations

import csv
import io
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clnm.entities import FileStatus, ItemKind, Reason
from clnm.simulate import alter
from clnm.simulate.alter import Change
from clnm.simulate.masks import write_mask_file
from clnm.simulate.scanners import CENTERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXPORT, _OLD_EXPORT = "C4_late.zip", "C4_old.tar"
FAULTY_ARCHIVES = {"C4": (_EXPORT, _OLD_EXPORT)}
"""By center: what the simulated installation lists beside the center's folder."""
_CUT_BYTES = 4000
_AGE = 2
"""The column of the clinical tables."""
_STATUS = {
    Reason.DUPLICATE_OF: FileStatus.DUPLICATE,
    Reason.NOT_AN_IMAGE: FileStatus.IGNORED,
    Reason.SOP_CLASS: FileStatus.IGNORED,
}
"""What is not quarantined."""
_SCANNERS = {center.name: center.scanner for center in CENTERS}
_IS_ENCRYPTED = 1
"""The first bit of a zip member's flags."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One planted fault."""

    fault: str
    path: str
    """Relative to the simulation's directory, a member's name after `!`; for a table row, the table's."""
    kind: ItemKind
    status: str
    """The `files.status` expected, empty for a table row."""
    reason: Reason


def plant_faults(directory: Path, images: Mapping[str, Path]) -> list[Fault]:
    """Write the faulty items. `images` names one clean image per center, relative to `directory`."""
    planter = _Planter(directory, images)
    return [
        *_plant_dicoms(planter),
        *_plant_other_files(planter),
        *_plant_masks(planter),
        *_plant_archives(planter),
        *_plant_patients(planter),
    ]


def faults_csv(faults: list[Fault]) -> str:
    """The list of planted faults as `truth/faults.csv`."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["fault", "path", "kind", "status", "reason"])
    writer.writerows([f.fault, f.path, f.kind, f.status, f.reason] for f in faults)
    return stream.getvalue()


def _plant_dicoms(planter: _Planter) -> list[Fault]:
    """Damaged, foreign and contradicting DICOM files; C1 keeps its pixels native, C3 as JPEG."""
    clean, altered = planter.clean, planter.altered
    files = {
        "truncated_header": ("C1/incoming/cut_0.dcm", altered("C1", 0)[:400], Reason.TRUNCATED_HEADER),
        "truncated_jpeg": ("C3/incoming/cut_1.dcm", altered("C3", 1)[:-_CUT_BYTES], Reason.TRUNCATED_PIXELS),
        "truncated_native": ("C1/incoming/cut_2.dcm", altered("C1", 2)[:-_CUT_BYTES], Reason.TRUNCATED_PIXELS),
        "no_pixels": ("C2/incoming/blank.dcm", altered("C2", 3, alter.without("PixelData")), Reason.NO_PIXELS),
        "no_patient_id": ("C4/incoming/nobody.dcm", altered("C4", 4, alter.without("PatientID")), Reason.MISSING_TAG),
        "no_rows": ("C1/incoming/no_rows.dcm", altered("C1", 5, alter.having(Rows=0)), Reason.MALFORMED),
        "bomb": ("C1/incoming/bomb.dcm", altered("C1", 6, alter.having(Rows=40_000, Columns=40_000)), Reason.TOO_LARGE),
        "other_size": (
            "C3/incoming/size.dcm",
            altered("C3", 7, alter.having(Rows=480, Columns=640)),
            Reason.SIZE_MISMATCH,
        ),
        "jpeg_of_noise": ("C3/incoming/noise.dcm", altered("C3", 8, alter.scramble), Reason.DECODE_FAILED),
        "report": ("C2/incoming/SR000001", altered("C2", 9, alter.make_report), Reason.SOP_CLASS),
        "film": ("C3/incoming/film.dcm", altered("C3", 10, alter.in_syntax(alter.MPEG4)), Reason.VIDEO_CODEC),
        "streamed": (
            "C3/incoming/stream.dcm",
            altered("C3", 11, alter.in_syntax(alter.JPIP)),
            Reason.UNSUPPORTED_SYNTAX,
        ),
        "no_meta": ("C2/incoming/IM900000", altered("C2", 12, alter.make_bare), Reason.NO_META),
        "duplicate": ("C1/incoming/same_again.dcm", clean("C1"), Reason.DUPLICATE_OF),
        "other_pixels": (
            "C1/incoming/same_uid.dcm",
            clean("C1")[:-_CUT_BYTES] + b"\x05" * _CUT_BYTES,
            Reason.UID_CONFLICT,
        ),
    }
    return [planter.put(fault, *file) for fault, file in files.items()]


def _plant_other_files(planter: _Planter) -> list[Fault]:
    return [
        planter.put("zero_bytes", "C1/incoming/empty.dcm", b"", Reason.EMPTY),
        planter.put("text_as_dicom", "C2/incoming/letter.dcm", b"Please call the ward.\n" * 40, Reason.NOT_DICOM),
        planter.put("readme", "C1/incoming/readme.txt", b"Export of the ward's machine.\n", Reason.NOT_AN_IMAGE),
        planter.put_link("link", "C2/incoming/elsewhere.dcm", Reason.NOT_A_REGULAR_FILE),
    ]


def _plant_masks(planter: _Planter) -> list[Fault]:
    """Further readers' masks, wrong in one way each; the clean ones are of r1 and r2."""
    corner, nothing, everything = planter.grid("C1"), planter.grid("C4"), planter.grid("C2")
    corner[:8, :30] = True
    everything[planter.region("C2")] = True
    small = np.zeros((64, 64), dtype=bool)
    small[16:40, 16:40] = True
    return [
        planter.put("mask_unreadable", planter.mask("C1", "r9"), b"NRRD0004\ngarbage\n" * 9, Reason.MASK_UNREADABLE),
        planter.put_mask("mask_without_image", "C2/masks/IM999999_r1.nrrd", small, Reason.MASK_WITHOUT_IMAGE),
        planter.put_mask("mask_other_size", planter.mask("C3", "r8"), small, Reason.MASK_MISMATCH),
        planter.put_mask("mask_empty", planter.mask("C4", "r7"), nothing, Reason.MASK_EMPTY),
        planter.put_mask("mask_in_the_text", planter.mask("C1", "r6"), corner, Reason.MASK_OUTSIDE_REGION),
        planter.put_mask("mask_everywhere", planter.mask("C2", "r5"), everything, Reason.MASK_COVERS_IMAGE),
        planter.put_mask("mask_again", planter.mask("C3", "r1.seg"), planter.square("C3"), Reason.CONTENT_CONFLICT),
    ]


def _plant_patients(planter: _Planter) -> list[Fault]:
    """A row of whom there is no image, images of whom there is no good mask, and values that cannot be."""
    unseen, ageless, undrawn, split = "99999999", "99999998", "99999997", "99999996"
    files = {ageless: ("C1/incoming/ageless.dcm", 14), undrawn: ("C4/incoming/undrawn.dcm", 15)}
    halves = planter.altered("C2", 16, alter.in_halves(split))
    return [
        planter.add_row("row_without_image", "C3", unseen, Reason.UNMATCHED_ROW),
        planter.put_undrawn("two_regions", "C2/incoming/IM900001", halves),
        planter.put_mask("mask_of_both", "C2/masks/IM900001_r1.nrrd", planter.square("C2"), Reason.SPACING_AMBIGUOUS),
        *(
            planter.put_undrawn(
                "image_without_mask", place, planter.altered(place[:2], number, alter.of_another(patient))
            )
            for patient, (place, number) in files.items()
        ),
        planter.add_row("value_out_of_range", "C1", ageless, Reason.VALUE_OUT_OF_RANGE, age="540"),
        planter.add_row("value_unreadable", "C4", undrawn, Reason.VALUE_UNREADABLE, age="about fifty"),
    ]


def _plant_archives(planter: _Planter) -> list[Fault]:
    """A zip file with bad members, and a tar file that is cut."""
    content = planter.altered("C4", 13)
    old = io.BytesIO()
    with tarfile.open(fileobj=old, mode="w") as archive:
        member = tarfile.TarInfo("IM000001.dcm")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as export:
        for name in ("../outside.dcm", "sealed.dcm"):
            export.writestr(zipfile.ZipInfo(name), content)
        export.infolist()[1].flag_bits |= _IS_ENCRYPTED
    return [
        planter.put("cut_archive", _OLD_EXPORT, old.getvalue()[: -_CUT_BYTES * 10], Reason.ARCHIVE_TRUNCATED),
        planter.put("member_outside", _EXPORT, whole.getvalue(), Reason.UNSAFE_MEMBER, member="../outside.dcm"),
        planter.put("member_sealed", _EXPORT, whole.getvalue(), Reason.ARCHIVE_ENCRYPTED, member="sealed.dcm"),
    ]


@dataclass(frozen=True, slots=True)
class _Planter:
    directory: Path
    images: Mapping[str, Path]

    def put(self, fault: str, place: str, content: bytes, reason: Reason, *, member: str = "") -> Fault:
        self._path(place).write_bytes(content)
        return _file_fault(fault, f"{place}!{member}" if member else place, reason)

    def put_link(self, fault: str, place: str, reason: Reason) -> Fault:
        self._path(place).symlink_to("letter.dcm")
        return _file_fault(fault, place, reason)

    def put_mask(self, fault: str, place: str, mask: NDArray[np.bool_], reason: Reason) -> Fault:
        write_mask_file(self._path(place), mask, _SCANNERS[place[:2]].spacing_mm)
        return _file_fault(fault, place, reason)

    def put_undrawn(self, fault: str, place: str, content: bytes) -> Fault:
        """An image as it should be, but without a mask: a file that is in, and a case that is listed."""
        self._path(place).write_bytes(content)
        return Fault(fault, f"archives/{place}", ItemKind.CASE, FileStatus.INGESTED, Reason.NO_MASK)

    def add_row(self, fault: str, center: str, patient: str, reason: Reason, *, age: str = "") -> Fault:
        """The center's last clinical row again, of another patient and, where it is given, of another age."""
        path = Path("archives", center, "clinical.csv")
        separator = next(known.table.separator for known in CENTERS if known.name == center)
        cells = (self.directory / path).read_text(encoding="utf-8").splitlines()[-1].split(separator)
        cells[0] = patient
        cells[_AGE] = age or cells[_AGE]
        with (self.directory / path).open("a", encoding="utf-8", newline="") as file:
            file.write(separator.join(cells) + "\n")
        return Fault(fault, path.as_posix(), ItemKind.CASE, "", reason)

    def clean(self, center: str) -> bytes:
        return (self.directory / self.images[center]).read_bytes()

    def altered(self, center: str, number: int, change: Change = alter.nothing) -> bytes:
        return alter.altered(self.clean(center), number, change)

    def mask(self, center: str, reader: str) -> str:
        """Where another reader's mask of the center's clean image would lie."""
        image = self.images[center]
        return f"{center}/masks/{image.name.removesuffix(image.suffix)}_{reader}.nrrd"

    def grid(self, center: str) -> NDArray[np.bool_]:
        """An empty mask on the center's frame."""
        return np.zeros(_SCANNERS[center].frame_px, dtype=bool)

    def square(self, center: str) -> NDArray[np.bool_]:
        """A mask in the middle of the center's frame."""
        mask = self.grid(center)
        middle_y, middle_x = mask.shape[0] // 2, mask.shape[1] // 2
        mask[middle_y - 20 : middle_y + 20, middle_x - 20 : middle_x + 20] = True
        return mask

    def region(self, center: str) -> tuple[slice, slice]:
        """Where the center's ultrasound region lies on its frame."""
        (top, left), (height, width) = _SCANNERS[center].origin_px, _SCANNERS[center].region_px
        return slice(top, top + height), slice(left, left + width)

    def _path(self, place: str) -> Path:
        path = self.directory / "archives" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _file_fault(fault: str, place: str, reason: Reason) -> Fault:
    return Fault(fault, f"archives/{place}", ItemKind.FILE, _STATUS.get(reason, FileStatus.QUARANTINED), reason)
