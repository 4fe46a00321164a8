"""The first look at one file: read once, hash, check, decode, crop. No effect: what follows is decided later."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from clnm.archive.headers import read_header
from clnm.archive.ledger import Entry, Kind
from clnm.archive.pseudonyms import Pseudonyms
from clnm.archive.walk import read
from clnm.entities import FileStatus, Reason, SpacingSource
from clnm.imaging.decode import decode_frame
from clnm.imaging.dicom import parse_dicom
from clnm.imaging.masks import LabelImage, read_mask
from clnm.imaging.pictures import SUFFIXES, read_picture
from clnm.imaging.refusal import RefusedError
from clnm.imaging.regions import Region, image_regions

_IGNORED_SUFFIXES = (
    ".txt",
    ".md",
    ".pdf",
    ".doc",
    ".docx",
    ".xml",
    ".json",
    ".html",
    ".ini",
    ".log",
    ".db",
    ".ds_store",
)
_QUIET = {Reason.SOP_CLASS, Reason.NOT_AN_IMAGE, Reason.NOT_IN_INDEX}
"""By rule not for us: ignored, not quarantined."""


@dataclass(frozen=True, slots=True, repr=False)
class IndexRow:
    """What the index table says of a picture. It prints nothing: it holds a patient's id."""

    patient: str
    study: str | None
    acquired_at: datetime | None
    spacing_x_mm: float | None
    spacing_y_mm: float | None
    reader: str
    manufacturer: str
    model: str


@dataclass(frozen=True, slots=True)
class Look:
    """What a look needs besides the file."""

    center: str
    pseudonyms: Pseudonyms
    index: Mapping[bytes, IndexRow]
    """Rows of the index table by the image's path bytes (below its source) or bare name."""
    frames: Mapping[str, int]
    """Frame named by a mask, by image stem."""
    max_still_copying_ns: int
    now_ns: int


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen: the file's next ledger entry, and the facts of an image or the labels of a mask."""

    entry: Entry
    manufacturer: str = ""
    model: str = ""
    transfer_syntax: str = ""
    decoder: str = ""
    spacing_source: SpacingSource = SpacingSource.NONE
    pixels: np.ndarray | None = None
    """The luminance of the ultrasound region: the burned-in strip around it never leaves the look."""
    labels: LabelImage | None = None


def look_at(look: Look, root: Path, entry: Entry) -> Sight:
    """Look at a file for the first time, or again. Never raises for what the file holds: a refusal is a state."""
    try:
        content = read(root, entry.path)
        seen = replace(entry, sha256=hashlib.sha256(content).hexdigest())
        if entry.kind is Kind.MASK:
            return Sight(_ingested(seen), labels=read_mask(content, _name(entry)))
        if entry.kind is Kind.TABLE:
            return Sight(_ingested(seen))
        if _name(entry).lower().endswith(SUFFIXES):
            return _see_picture(look, seen, content)
        return _see_dicom(look, seen, content)
    except RefusedError as refusal:
        return Sight(_refused(look, entry, refusal))


def refused(entry: Entry, reason: Reason, detail: str = "") -> Entry:
    """The entry in the state that a reason means."""
    status = FileStatus.IGNORED if reason in _QUIET else FileStatus.QUARANTINED
    return replace(entry, status=status, reason=reason.value, detail=detail)


def stem_of(name: str) -> str:
    """A file's name without what comes after its first dot that starts a known ending; extension-less names whole."""
    lower = name.lower()
    for ending in (".nii.gz", ".seg.nrrd"):
        if lower.endswith(ending):
            return name[: -len(ending)]
    head, dot, tail = name.rpartition(".")
    return head if dot and head and 0 < len(tail) <= 5 and not tail.isdigit() else name


def _see_dicom(look: Look, entry: Entry, content: bytes) -> Sight:
    name = _name(entry).lower()
    if name.endswith(_IGNORED_SUFFIXES) or name == "dicomdir":
        raise RefusedError(Reason.NOT_AN_IMAGE)
    if content[128:132] != b"DICM" and content and "." in name and not name.endswith((".dcm", ".dicom", ".ima")):
        ending = name.rsplit(".", 1)[1]
        if not ending.isdigit():
            raise RefusedError(Reason.NOT_AN_IMAGE)
    file = parse_dicom(content)
    header = read_header(file.dataset)
    frame = decode_frame(file, frame=look.frames.get(entry.stem))
    region = image_regions(file.dataset, *frame.luminance.shape)[0]
    keys = look.pseudonyms
    known = replace(
        _ingested(entry),
        image_key=keys.image(look.center, header.sop_uid, frame.index),
        patient_key=keys.patient(look.center, header.patient_id),
        study_key=keys.study(look.center, header.study_uid),
        acquired_at=header.acquired_at,
        frame=frame.index,
    )
    return Sight(
        _placed(known, frame.luminance, region),
        pixels=frame.luminance[region.top : region.bottom, region.left : region.right].copy(),
        manufacturer=header.manufacturer,
        model=header.model,
        transfer_syntax=frame.transfer_syntax,
        decoder=frame.decoder,
        spacing_source=region.source,
    )


def _see_picture(look: Look, entry: Entry, content: bytes) -> Sight:
    row = look.index.get(entry.path) or look.index.get(_name(entry).encode("utf-8", "surrogateescape"))
    if row is None:
        raise RefusedError(Reason.NOT_IN_INDEX)
    if not row.patient:
        raise RefusedError(Reason.MISSING_TAG, "patient")
    frame = read_picture(content)
    rows, columns = frame.luminance.shape
    source = SpacingSource.NONE if row.spacing_x_mm is None else SpacingSource.INDEX
    region = Region(0, rows, 0, columns, row.spacing_x_mm, row.spacing_y_mm, source)
    keys = look.pseudonyms
    day = row.acquired_at.date().isoformat() if row.acquired_at else ""
    known = replace(
        _ingested(entry),
        image_key=keys.image(look.center, str(entry.sha256), 0),
        patient_key=keys.patient(look.center, row.patient),
        study_key=keys.study(look.center, row.study or f"{row.patient}\x00{day}"),
        acquired_at=row.acquired_at,
    )
    return Sight(
        _placed(known, frame.luminance, region),
        pixels=frame.luminance[region.top : region.bottom, region.left : region.right].copy(),
        manufacturer=row.manufacturer,
        model=row.model,
        transfer_syntax=frame.transfer_syntax,
        decoder=frame.decoder,
        spacing_source=source,
    )


def _placed(entry: Entry, luminance: np.ndarray, region: Region) -> Entry:
    return replace(
        entry,
        rows_px=luminance.shape[0],
        columns_px=luminance.shape[1],
        top=region.top,
        bottom=region.bottom,
        left=region.left,
        right=region.right,
        spacing_x_mm=region.spacing_x_mm,
        spacing_y_mm=region.spacing_y_mm,
    )


def _ingested(entry: Entry) -> Entry:
    return replace(entry, status=FileStatus.INGESTED, reason="", detail="")


def _refused(look: Look, entry: Entry, refusal: RefusedError) -> Entry:
    """A file that is not whole and was touched a moment ago is still being copied: it waits."""
    is_cut = refusal.reason in {
        Reason.EMPTY,
        Reason.TRUNCATED_HEADER,
        Reason.TRUNCATED_PIXELS,
        Reason.ARCHIVE_TRUNCATED,
        Reason.MASK_UNREADABLE,
    }
    if is_cut and 0 <= look.now_ns - entry.mtime_ns < look.max_still_copying_ns:
        return replace(entry, status=FileStatus.PENDING, reason=Reason.STILL_COPYING.value, detail="")
    return refused(entry, refusal.reason, refusal.detail)


def _name(entry: Entry) -> str:
    return entry.path.rsplit(b"/", 1)[-1].rsplit(b"!", 1)[-1].decode("utf-8", "surrogateescape")
