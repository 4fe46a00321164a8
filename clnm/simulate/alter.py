"""One thing wrong with a good DICOM file: a clean image in, one that is damaged or another's out."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from clnm.simulate.dicom import UID_ROOT

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Change: TypeAlias = "Callable[[Dataset], None]"
"""What is done to a header in place."""
MPEG4, JPIP = "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.94"
"""Transfer syntaxes: a film, and pixels that lie elsewhere."""
_COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"


def nothing(header: Dataset) -> None:
    """No change."""


def altered(content: bytes, number: int, change: Change) -> bytes:
    """The image under UIDs of its own, which follow from `number`, changed."""
    from pydicom import dcmread

    header: Dataset = dcmread(io.BytesIO(content))
    header.StudyInstanceUID = f"{UID_ROOT}.9.{number}"
    header.SeriesInstanceUID = f"{UID_ROOT}.9.{number}.1"
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = f"{UID_ROOT}.9.{number}.1.1"
    change(header)
    stream = io.BytesIO()
    header.save_as(stream, enforce_file_format="SOPClassUID" in header)
    return stream.getvalue()


def without(name: str) -> Change:
    """One element is missing."""
    return lambda header: header.__delitem__(name)


def having(**values: int) -> Change:
    """Elements have these values."""
    return lambda header: header.update(values)


def of_another(patient: str) -> Change:
    """The picture upside down, so that it is nobody's double."""

    def change(header: Dataset) -> None:
        header.PatientID, header.PixelData = patient, header.PixelData[::-1]

    return change


def in_halves(patient: str) -> Change:
    """Two ultrasound regions side by side in place of one."""

    def change(header: Dataset) -> None:
        of_another(patient)(header)
        left = header.SequenceOfUltrasoundRegions[0]
        right = copy.deepcopy(left)
        left.RegionLocationMaxX1 = header.Columns // 2 - 1
        right.RegionLocationMinX0 = header.Columns // 2
        header.SequenceOfUltrasoundRegions.append(right)

    return change


def in_syntax(uid: str) -> Change:
    """The pixels are said to be of another transfer syntax."""

    def change(header: Dataset) -> None:
        header.file_meta.TransferSyntaxUID = uid

    return change


def scramble(header: Dataset) -> None:
    """A JPEG whose markers are gone, in its fragments as before."""
    from pydicom.encaps import encapsulate

    header.PixelData = encapsulate([b"\x2a" * 8000])


def make_report(header: Dataset) -> None:
    """A structured report."""
    header.SOPClassUID, header.Modality = _COMPREHENSIVE_SR, "SR"
    del header["PixelData"]


def make_bare(header: Dataset) -> None:
    """The data set alone, and no word of what it is."""
    from pydicom.dataset import FileMetaDataset

    header.preamble, header.file_meta = None, FileMetaDataset()
    del header["SOPClassUID"]
