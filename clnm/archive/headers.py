"""The allow-list of DICOM fields: what leaves the reader. Everything else stays in the file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from clnm.entities import Reason
from clnm.imaging.dicom import standard_uid
from clnm.imaging.refusal import UNTRUSTED, RefusedError
from clnm.imaging.segmentations import SEGMENTATION, drawn_on

_ULTRASOUND = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{ending}"
    for ending in ("6.1", "3.1", "6", "3")  # Ultrasound (Multi-frame) Image Storage, and the same retired
)
_SCREENSHOTS = frozenset(f"1.2.840.10008.5.1.4.1.1.7{ending}" for ending in ("", ".1", ".2", ".3", ".4"))
_SCREENSHOT_MODALITIES = frozenset({"", "US", "IVUS", "OT", "SC"})
"""Secondary captures are taken from older machines; those of another modality are not ours."""
_NAMES = (
    "PatientName",
    "PatientID",
    "OtherPatientNames",
    "ReferringPhysicianName",
    "OperatorsName",
    "PerformingPhysicianName",
)
_WORD = re.compile(r"\w{4,}")
_FIRST_YEAR, _LAST_YEAR = 1950, 2200
"""Medical ultrasound is younger than the first; outside, a date is a placeholder."""
_DAY = re.compile(r"[0-9]{8}")
_CLOCKS = (
    ("AcquisitionDate", "AcquisitionTime"),
    ("ContentDate", "ContentTime"),
    ("SeriesDate", "SeriesTime"),
    ("StudyDate", "StudyTime"),
)


@dataclass(frozen=True, slots=True, repr=False)
class Header:
    """What intake reads of a DICOM header. The three ids are hashed before they leave intake; it prints nothing."""

    patient_id: str
    study_uid: str
    sop_uid: str
    acquired_at: datetime | None
    manufacturer: str
    model: str


def is_wanted(sop_class: str, modality: str) -> bool:
    """Whether objects of this class and modality are ultrasound images (or screenshots of one)."""
    return sop_class in _ULTRASOUND or (sop_class in _SCREENSHOTS and modality in _SCREENSHOT_MODALITIES)


def may_be_wanted(sop_class: str, modality: str) -> bool:
    """Whether an object has to be read to know if it is for us: an image, or a segmentation of one."""
    return sop_class == SEGMENTATION or is_wanted(sop_class, modality)


def is_segmentation(dataset: Any) -> bool:
    """Whether a file is a segmentation, and not one of images that are not for us."""
    if _sop_class(dataset) != SEGMENTATION:
        return False
    try:
        classes = {sop_class for sop_class, _, _ in drawn_on(dataset)}
    except UNTRUSTED:
        return True  # its own look says what is wrong with it
    return not classes or any(is_wanted(sop_class, "") for sop_class in classes)


def demand_ultrasound(dataset: Any) -> None:
    """Refuse what is no ultrasound image (or screenshot of one) by its class.

    Raises:
        RefusedError: the class is another, or missing.
    """
    sop_class = _sop_class(dataset)
    if is_wanted(sop_class, _text(dataset, "Modality")):
        return
    if not sop_class:
        raise RefusedError(Reason.MISSING_TAG, "SOPClassUID")
    raise RefusedError(Reason.SOP_CLASS, standard_uid(sop_class))


def read_header(dataset: Any) -> Header:
    """The allowed fields.

    Raises:
        RefusedError: an id that everything hangs on is missing.
    """
    ids = {name: _text(dataset, name) for name in ("PatientID", "StudyInstanceUID", "SOPInstanceUID")}
    for name, value in ids.items():
        if not value:
            raise RefusedError(Reason.MISSING_TAG, name)
    names = [_text(dataset, name) for name in _NAMES]
    return Header(
        patient_id=ids["PatientID"],
        study_uid=ids["StudyInstanceUID"],
        sop_uid=ids["SOPInstanceUID"],
        acquired_at=_acquired_at(dataset),
        manufacturer=without_names(_text(dataset, "Manufacturer"), names),
        model=without_names(_text(dataset, "ManufacturerModelName"), names),
    )


def without_names(text: str, names: Iterable[str]) -> str:
    """`text` of at most 64 characters, or nothing where it shares a word of four letters or more with `names`."""
    named = {word.casefold() for name in names for word in _WORD.findall(name.replace("^", " "))}
    return "" if named & {word.casefold() for word in _WORD.findall(text)} else text[:64]


def _sop_class(dataset: Any) -> str:
    meta = getattr(dataset, "file_meta", None)
    return _text(dataset, "SOPClassUID") or (_text(meta, "MediaStorageSOPClassUID") if meta else "")


def _text(dataset: Any, name: str) -> str:
    try:
        value = dataset.get(name, None)
        return "" if value is None else str(value).strip(" \x00")
    except UNTRUSTED:
        return ""


def _acquired_at(dataset: Any) -> datetime | None:
    """The earliest clock of the picture itself; a header without an offset means UTC, as all times here."""
    offset = _offset(_text(dataset, "TimezoneOffsetFromUTC"))
    for date_name, time_name in _CLOCKS:
        day = _text(dataset, date_name).replace(".", "")
        clock = _text(dataset, time_name).replace(":", "").split(".")[0].ljust(6, "0")[:6]
        if not _DAY.fullmatch(day):
            continue
        try:
            moment = datetime.strptime(day + clock, "%Y%m%d%H%M%S").replace(tzinfo=offset)
        except ValueError:
            continue
        if _FIRST_YEAR <= moment.year <= _LAST_YEAR:
            return moment.astimezone(UTC)
    return None


def _offset(text: str) -> timezone:
    try:
        sign = -1 if text.startswith("-") else 1
        return timezone(sign * timedelta(hours=int(text[1:3]), minutes=int(text[3:5])))
    except ValueError:
        return UTC
