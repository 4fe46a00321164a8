"""One frame of a DICOM file to luminance, by one pinned decoder per transfer syntax.

gdcm is never asked: it can abort the process. A whole clip is never decoded.
"""

from __future__ import annotations

import importlib.metadata
import io
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from clnm.entities import Reason
from clnm.imaging.dicom import BIG_ENDIAN, NATIVE, DicomFile, check_pixels, frame_bytes, native_meaning, standard_uid
from clnm.imaging.refusal import UNTRUSTED, RefusedError

_VIDEO = "1.2.840.10008.1.2.4.10"
"""MPEG-2, MPEG-4 and HEVC start like this: films of a whole examination, for which no decoder is pinned."""
_BASELINE = "1.2.840.10008.1.2.4.50"
_DECODERS = {
    _BASELINE: ("pillow", "pillow"),
    "1.2.840.10008.1.2.4.51": ("pylibjpeg", "pylibjpeg-libjpeg"),
    "1.2.840.10008.1.2.4.57": ("pylibjpeg", "pylibjpeg-libjpeg"),
    "1.2.840.10008.1.2.4.70": ("pylibjpeg", "pylibjpeg-libjpeg"),
    "1.2.840.10008.1.2.4.80": ("pylibjpeg", "pylibjpeg-libjpeg"),
    "1.2.840.10008.1.2.4.81": ("pylibjpeg", "pylibjpeg-libjpeg"),
    "1.2.840.10008.1.2.4.90": ("pylibjpeg", "pylibjpeg-openjpeg"),
    "1.2.840.10008.1.2.4.91": ("pylibjpeg", "pylibjpeg-openjpeg"),
    "1.2.840.10008.1.2.5": ("pylibjpeg", "pylibjpeg-rle"),
}
_STARTS_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
"""JPEG markers that carry the picture's size; F7 is JPEG-LS'."""
_J2K_START = b"\xff\x4f\xff\x51"
_BT601 = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame: (H, W) luminance (uint8, uint16 or float32), which of how many frames, and what decoded it."""

    luminance: np.ndarray
    index: int
    count: int
    transfer_syntax: str
    decoder: str


def decode_frame(file: DicomFile, *, frame: int | None = None) -> Frame:
    """One frame as luminance: the stated one where there is such a frame, else the middle one.

    Raises:
        RefusedError: there are no pixels, they are truncated, too large, of a syntax without decoder, or undecodable.
    """
    syntax = file.transfer_syntax
    if syntax.startswith(_VIDEO):
        raise RefusedError(Reason.VIDEO_CODEC, standard_uid(syntax))
    if syntax not in NATIVE and syntax not in _DECODERS:
        raise RefusedError(Reason.UNSUPPORTED_SYNTAX, standard_uid(syntax))
    count = check_pixels(file)
    index = frame if frame is not None and 0 <= frame < count else count // 2
    package = _DECODERS.get(syntax, ("", "pydicom"))[1]
    try:
        luminance = _decode(file, index, count)
    except RefusedError:
        raise
    except UNTRUSTED as error:
        raise RefusedError(Reason.DECODE_FAILED, type(error).__name__) from None
    return Frame(luminance, index, count, syntax, named(package))


@lru_cache
def named(package: str) -> str:
    """A package and its version, for the record; looking it up costs more than decoding a small frame."""
    return f"{package} {importlib.metadata.version(package)}"


def luminance_of_color(color: np.ndarray) -> np.ndarray:
    """(H, W, 3 or 4) colour to (H, W) luminance: a grey pixel's own value, else ITU-R BT.601 in float32.

    A picture that is grey all over keeps its type, so that it is the same whether it was saved in colour or not.
    """
    red, green, blue = color[..., 0], color[..., 1], color[..., 2]
    is_grey = (red == green) & (green == blue)
    if is_grey.all():
        return np.ascontiguousarray(red)
    weighted = color[..., :3].astype(np.float32) @ _BT601
    return np.where(is_grey, red, weighted).astype(np.float32)


def _decode(file: DicomFile, index: int, count: int) -> np.ndarray:
    """The frame alone is handed to the decoder, with the size its own bytes state checked first."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels import get_decoder
    from pydicom.pixels.utils import as_pixel_options

    dataset, syntax = file.dataset, file.transfer_syntax
    options = as_pixel_options(dataset, number_of_frames=1, pixel_keyword="PixelData", pixel_vr=file.pixels_vr)
    options.pop("extended_offsets", None)
    if syntax in NATIVE:
        source, plugin = _native_frame(file, index, count), ""
        options["photometric_interpretation"] = native_meaning(file, count)
    else:
        stream = _encapsulated_frame(file, index, count)
        _demand_stated_size(stream, dataset, syntax)
        if syntax == _BASELINE and str(dataset.get("PhotometricInterpretation", "")).startswith("YBR"):
            return _luma_of_jpeg(stream)
        source, plugin = encapsulate([stream]), _DECODERS[syntax][0]
    pixels, _ = get_decoder(syntax).as_array(source, index=0, decoding_plugin=plugin, **options)
    return _luminance(pixels, dataset)


def _native_frame(file: DicomFile, index: int, count: int) -> bytes:
    assert file.pixels_at is not None
    size = frame_bytes(file, count)
    start, even = file.pixels_at + index * size, size + size % 2
    if count > 1 and size % 2 and file.transfer_syntax == BIG_ENDIAN and file.pixels_vr == "OW":
        raise RefusedError(Reason.DECODE_FAILED, "words across frames")
    return file.content[start : start + even].ljust(even, b"\x00")


def _encapsulated_frame(file: DicomFile, index: int, count: int) -> bytes:
    from pydicom.encaps import get_frame

    assert file.pixels_at is not None
    buffer = io.BytesIO(file.content)
    buffer.seek(file.pixels_at)
    return get_frame(buffer, index, number_of_frames=count)


def _demand_stated_size(stream: bytes, dataset: Any, syntax: str) -> None:
    """What a compressed stream says of its size must be what the header says: no surprise of 20,000 x 20,000."""
    if syntax.endswith(".1.2.5"):
        return
    stated = _stream_size(stream)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if stated is None:
        raise RefusedError(Reason.DECODE_FAILED, "no start of frame")
    if stated != (rows, columns):
        raise RefusedError(Reason.SIZE_MISMATCH, f"{stated[0]} x {stated[1]} for {rows} x {columns}")


def _stream_size(stream: bytes) -> tuple[int, int] | None:
    """(rows, columns) of a JPEG, JPEG-LS or JPEG 2000 stream (ITU-T T.81 B.2.2, T.800 A.5.1); None: not found."""
    start = stream.find(_J2K_START, 0, 4096)
    if start >= 0 and len(stream) >= start + 24:
        right, bottom, left, top = struct.unpack_from(">LLLL", stream, start + 8)
        return bottom - top, right - left
    at = 2
    while at + 9 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker in _STARTS_OF_FRAME:
            rows, columns = struct.unpack_from(">HH", stream, at + 5)
            return rows, columns
        at += 1 if marker == 0xFF else 2 + struct.unpack_from(">H", stream, at + 2)[0]
    return None


def _luma_of_jpeg(stream: bytes) -> np.ndarray:
    """The Y that the JPEG holds itself: nothing is lost on the way to RGB and back, in a third of the time."""
    from PIL import Image

    with Image.open(io.BytesIO(stream), formats=("JPEG",)) as picture:
        picture.draft("L", picture.size)
        return np.asarray(picture.convert("L"))


def _luminance(pixels: np.ndarray, dataset: Any) -> np.ndarray:
    """Brightness, brighter is more: pydicom has turned YBR to RGB already; palettes and MONOCHROME1 are turned here."""
    from pydicom.pixels import apply_color_lut

    meaning = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if meaning == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
        if pixels.dtype.itemsize == 2:  # a screen's 8 bits, written as v << 8 or as 257 v: the upper byte is the value
            pixels = (pixels >> 8).astype(np.uint8)
    native = np.ascontiguousarray(pixels).astype(pixels.dtype.newbyteorder("="), copy=False)
    if native.ndim == 3:
        native = luminance_of_color(native)
    elif meaning == "MONOCHROME1":
        native = ((1 << int(dataset.BitsStored)) - 1 - native.astype(np.int64)).astype(native.dtype)
    return native if native.dtype in (np.uint8, np.uint16) else native.astype(np.float32)
