"""The allow-list of DICOM fields: what leaves the reader. Everything else stays in the file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from clnm.entities import Reason
from clnm.imaging.refusal import UNTRUSTED, RefusedError

_ULTRASOUND = ("1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1")
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_RETIRED = ("1.2.840.10008.5.1.4.1.1.6", "1.2.840.10008.5.1.4.1.1.3")
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


def read_header(dataset: Any) -> Header:
    """The allowed fields.

    Raises:
        RefusedError: it is no ultrasound image, or an id that everything hangs on is missing.
    """
    sop_class = _text(dataset, "SOPClassUID")
    if not sop_class.startswith((*_ULTRASOUND, *_RETIRED, _SECONDARY_CAPTURE)):
        raise RefusedError(Reason.SOP_CLASS, sop_class if sop_class.replace(".", "").isdigit() else "")
    ids = {name: _text(dataset, name) for name in ("PatientID", "StudyInstanceUID", "SOPInstanceUID")}
    for name, value in ids.items():
        if not value:
            raise RefusedError(Reason.MISSING_TAG, name)
    return Header(
        patient_id=ids["PatientID"],
        study_uid=ids["StudyInstanceUID"],
        sop_uid=ids["SOPInstanceUID"],
        acquired_at=_acquired_at(dataset),
        manufacturer=_text(dataset, "Manufacturer")[:64],
        model=_text(dataset, "ManufacturerModelName")[:64],
    )


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
        try:
            return datetime.strptime(day + clock, "%Y%m%d%H%M%S").replace(tzinfo=offset).astimezone(UTC)
        except ValueError:
            continue
    return None


def _offset(text: str) -> timezone:
    try:
        sign = -1 if text.startswith("-") else 1
        return timezone(sign * timedelta(hours=int(text[1:3]), minutes=int(text[3:5])))
    except ValueError:
        return UTC
