"""A DICOM file's header, and where its pixels lie: looked at before anything is decoded.

A truncated JPEG reads as an empty data set without an error, and a file of 1 MB can inflate to 4 GB. So the header is
read up to the pixels alone, and the length, the end and the size of the pixels are checked by their bytes.
"""

from __future__ import annotations

import io
import logging
import struct
from dataclasses import dataclass
from typing import Any

from clnm.entities import Reason
from clnm.imaging.refusal import UNTRUSTED, RefusedError

MAX_PIXELS = 50_000_000
"""Of one frame: larger than any ultrasound frame, small enough for a worker of 2 GiB."""
MAX_FRAMES = 20_000
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
NATIVE = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", BIG_ENDIAN})
_STANDARD_UIDS = "1.2.840.10008."
_UNDEFINED = 0xFFFFFFFF
_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_PIXEL_DATA = (0x7FE0, 0x0010)
_BARE_STARTS = frozenset(
    bytes.fromhex(start)
    for start in ("02000000", "02000100", "08000000", "08000500", "08000800", "08001600", "00080005", "00080008")
)
"""A data set without preamble starts with group 0002 or 0008, little or big endian."""


@dataclass(frozen=True, slots=True, repr=False)
class DicomFile:
    """A header and the place of its pixels in `content`. It prints nothing: the header holds names."""

    dataset: Any
    content: bytes
    transfer_syntax: str
    pixels_at: int | None
    """Where the value of PixelData starts; None: there is none."""
    pixels_length: int
    """Its declared length; `0xFFFFFFFF` where it is undefined, as encapsulated pixels are."""
    pixels_vr: str

    def demand_pixels(self) -> None:
        """Refuse a file without pixels: one that was cut in its header, or one that never had any.

        Raises:
            RefusedError: there are no pixels.
        """
        if self.pixels_at is None:
            is_cut = self.dataset_is_cut or max(self.dataset.keys(), default=0) < 0x00280000
            raise RefusedError(Reason.TRUNCATED_HEADER if is_cut else Reason.NO_PIXELS)

    @property
    def dataset_is_cut(self) -> bool:
        """Whether the last element is shorter than it says."""
        if not len(self.dataset):
            return True
        last = self.dataset.get_item(max(self.dataset.keys()))
        length, value = getattr(last, "length", None), getattr(last, "value", None)
        return isinstance(value, bytes) and isinstance(length, int) and length not in {_UNDEFINED, len(value)}


def parse_dicom(content: bytes) -> DicomFile:
    """Read a DICOM file's header.

    Raises:
        RefusedError: the file is empty, no DICOM, deflated, truncated or malformed.
    """
    if not content:
        raise RefusedError(Reason.EMPTY)
    has_preamble, is_bare = content[128:132] == b"DICM", content[:4] in _BARE_STARTS
    if not has_preamble and not is_bare:
        raise RefusedError(Reason.NOT_DICOM)
    if has_preamble and is_bare and content[132:134] != b"\x02\x00":  # the four letters stand there by chance
        raise RefusedError(Reason.NO_META)
    if has_preamble and DEFLATED.encode() in content[132 : _end_of_meta(content)]:
        raise RefusedError(Reason.UNSUPPORTED_SYNTAX, DEFLATED)
    dataset, stopped_at = _read_header(content, is_bare=not has_preamble)
    if not has_preamble and "SOPClassUID" not in dataset:
        raise RefusedError(Reason.NO_META)
    if not len(dataset):
        raise RefusedError(Reason.TRUNCATED_HEADER)
    meta = getattr(dataset, "file_meta", None)
    syntax = str(getattr(meta, "TransferSyntaxUID", "") or "") or _guessed_syntax(dataset)
    at, length, vr = _pixel_element(content, stopped_at, dataset)
    return DicomFile(dataset, content, syntax, at, length, vr)


def whole_number(dataset: Any, name: str, default: int | None = None) -> int:
    """A counting element of the header.

    Raises:
        RefusedError: it is missing (and there is no `default`), or no positive number.
    """
    try:
        value = dataset.get(name, None)
        number = default if value in (None, "") else int(value)
    except UNTRUSTED:
        raise RefusedError(Reason.MALFORMED, name) from None
    if number is None:
        raise RefusedError(Reason.MISSING_TAG, name)
    if number < 0 or (number == 0 and default is None):
        raise RefusedError(Reason.MALFORMED, name)
    return number


def check_pixels(file: DicomFile) -> int:
    """The size of the pixels against the limits and against what is there; returns the number of frames.

    Raises:
        RefusedError: pixels are missing, truncated, too large or malformed.
    """
    file.demand_pixels()
    names = ("Rows", "Columns", "BitsAllocated", "SamplesPerPixel")
    rows, columns, bits, _ = (whole_number(file.dataset, name) for name in names)
    frames = max(1, whole_number(file.dataset, "NumberOfFrames", default=1))
    if rows * columns > MAX_PIXELS or frames > MAX_FRAMES:
        raise RefusedError(Reason.TOO_LARGE, f"{rows} x {columns} x {frames}")
    if file.transfer_syntax not in NATIVE:
        _walk_fragments(file)
        return frames
    if bits % 8:
        raise RefusedError(Reason.DECODE_FAILED, f"{bits} bits")
    assert file.pixels_at is not None
    want = frame_bytes(file, frames) * frames
    have = min(len(file.content) - file.pixels_at, file.pixels_length)
    if have < want:
        raise RefusedError(Reason.TRUNCATED_PIXELS, f"{have} of {want} bytes")
    return frames


def native_meaning(file: DicomFile, frames: int) -> str:
    """The photometric interpretation of native pixels: some call YBR_FULL_422 what is not subsampled at all."""
    dataset = file.dataset
    meaning = str(dataset.get("PhotometricInterpretation", ""))
    whole = int(dataset.Rows) * int(dataset.Columns) * 3 * frames
    return "YBR_FULL" if meaning == "YBR_FULL_422" and file.pixels_length >= whole else meaning


def frame_bytes(file: DicomFile, frames: int) -> int:
    """Bytes of one native frame; YBR_FULL_422 has two colour samples for two pixels (PS3.3 C.7.6.3.1.2)."""
    dataset = file.dataset
    samples = 2 if native_meaning(file, frames) == "YBR_FULL_422" else int(dataset.SamplesPerPixel)
    return int(dataset.Rows) * int(dataset.Columns) * samples * int(dataset.BitsAllocated) // 8


def standard_uid(uid: str) -> str:
    """A UID of the DICOM standard, as a detail; any other is nobody's business."""
    return uid if uid.startswith(_STANDARD_UIDS) and uid.replace(".", "").isdigit() else ""


def _read_header(content: bytes, *, is_bare: bool) -> tuple[Any, int]:
    import pydicom
    from pydicom.errors import InvalidDicomError

    logging.getLogger("pydicom").disabled = True  # its messages quote values
    file = io.BytesIO(content)
    try:
        dataset = pydicom.dcmread(file, stop_before_pixels=True, force=is_bare)
        len(dataset)
    except InvalidDicomError:
        raise RefusedError(Reason.NOT_DICOM) from None
    except EOFError:
        raise RefusedError(Reason.TRUNCATED_HEADER) from None
    except UNTRUSTED as error:
        raise RefusedError(Reason.MALFORMED, type(error).__name__) from None
    return dataset, file.tell()


def _end_of_meta(content: bytes) -> int:
    """File meta information starts with its own length (0002,0000); where it does not, 4 KiB are looked at."""
    if content[132:140] == b"\x02\x00\x00\x00UL\x04\x00" and len(content) >= 144:
        return min(144 + int(struct.unpack_from("<L", content, 140)[0]), 65_536)
    return 4096


def _guessed_syntax(dataset: Any) -> str:
    is_implicit, is_little = dataset.original_encoding
    if is_implicit:
        return "1.2.840.10008.1.2"
    return "1.2.840.10008.1.2.1" if is_little else "1.2.840.10008.1.2.2"


def _pixel_element(content: bytes, at: int, dataset: Any) -> tuple[int | None, int, str]:
    """Where pydicom stopped is the pixel element, or the end of the file."""
    is_implicit, is_little = dataset.original_encoding
    order = "<" if is_little else ">"
    size = 8 if is_implicit else 12
    if at + size > len(content) or struct.unpack_from(order + "HH", content, at) != _PIXEL_DATA:
        return None, 0, ""
    (length,) = struct.unpack_from(order + "L", content, at + size - 4)
    vr = "OW" if is_implicit else content[at + 4 : at + 6].decode("ascii", "replace")
    return at + size, length, vr


def _walk_fragments(file: DicomFile) -> None:
    """Encapsulated pixels are items one after another, closed by a delimiter (PS3.5 A.4)."""
    assert file.pixels_at is not None
    content, at = file.content, file.pixels_at
    if file.pixels_length != _UNDEFINED:
        raise RefusedError(Reason.MALFORMED, "pixels are not encapsulated")
    while content[at : at + 4] != _DELIMITER:
        if at + 8 > len(content):
            raise RefusedError(Reason.TRUNCATED_PIXELS, "no sequence delimiter at the end")
        if content[at : at + 4] != _ITEM:
            raise RefusedError(Reason.MALFORMED, "fragment")
        at += 8 + struct.unpack_from("<L", content, at + 4)[0]
