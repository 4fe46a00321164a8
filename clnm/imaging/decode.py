"""One frame of a DICOM file to luminance: checked before it is decoded, by one pinned decoder per transfer syntax.

A truncated JPEG reads as an empty data set without an error, and some decoders abort the process on a bomb: so length,
tail and size are looked at first, and gdcm is never asked.
"""

from __future__ import annotations

import importlib.metadata
import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from clnm.entities import Reason
from clnm.imaging.refusal import UNTRUSTED, RefusedError

MAX_PIXELS = 50_000_000
"""Of one frame: larger than any ultrasound frame, small enough for a 2 GiB worker."""
MAX_FRAMES = 20_000
_TAIL = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"}
_VIDEO = "1.2.840.10008.1.2.4.10"
_DECODERS = {
    "1.2.840.10008.1.2.4.50": ("pillow", "pillow"),
    "1.2.840.10008.1.2.4.51": ("pylibjpeg", "pylibjpeg-libjpeg"),
    "1.2.840.10008.1.2.4.57": ("pylibjpeg", "pylibjpeg-libjpeg"),
    "1.2.840.10008.1.2.4.70": ("pylibjpeg", "pylibjpeg-libjpeg"),
    "1.2.840.10008.1.2.4.80": ("pylibjpeg", "pylibjpeg-libjpeg"),
    "1.2.840.10008.1.2.4.81": ("pylibjpeg", "pylibjpeg-libjpeg"),
    "1.2.840.10008.1.2.4.90": ("pylibjpeg", "pylibjpeg-openjpeg"),
    "1.2.840.10008.1.2.4.91": ("pylibjpeg", "pylibjpeg-openjpeg"),
    "1.2.840.10008.1.2.5": ("pylibjpeg", "pylibjpeg-rle"),
}


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame: (H, W) luminance, which frame it is, and what decoded it."""

    luminance: np.ndarray
    index: int
    transfer_syntax: str
    decoder: str


def read_dataset(content: bytes) -> Any:
    """Parse a DICOM file.

    Raises:
        RefusedError: it is empty, no DICOM, truncated or malformed.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    if not content:
        raise RefusedError(Reason.EMPTY)
    has_preamble = content[128:132] == b"DICM"
    if has_preamble and _DEFLATED.encode() in content[132:1024]:
        raise RefusedError(Reason.UNSUPPORTED_SYNTAX, _DEFLATED)
    if not has_preamble and not _looks_like_bare_dicom(content):
        raise RefusedError(Reason.NOT_DICOM)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(io.BytesIO(content), force=not has_preamble)
            len(dataset)
        except InvalidDicomError:
            raise RefusedError(Reason.NOT_DICOM) from None
        except UNTRUSTED as error:
            raise RefusedError(Reason.MALFORMED, type(error).__name__) from None
    if not len(dataset):
        reason = Reason.TRUNCATED_PIXELS if has_preamble and len(content) > 2048 else Reason.TRUNCATED_HEADER
        raise RefusedError(reason)
    if not has_preamble and "SOPClassUID" not in dataset:
        raise RefusedError(Reason.NO_META)
    return dataset


def decode_frame(dataset: Any, content: bytes, *, frame: int | None = None) -> Frame:
    """One frame as luminance: the stated one, else the middle one; never a whole clip.

    Raises:
        RefusedError: there are no pixels, they are truncated, too large, of a syntax without decoder, or undecodable.
    """
    syntax = _transfer_syntax(dataset)
    count = _check_structure(dataset, content, syntax)
    index = count // 2 if frame is None else frame
    if not 0 <= index < count:
        raise RefusedError(Reason.SIZE_MISMATCH, f"frame {index} of {count}")
    plugin, package = _DECODERS.get(syntax, ("", "pydicom"))
    pixels = _decode(content, dataset, index, plugin, count)
    luminance = _luminance(pixels, dataset)
    return Frame(luminance, index, syntax, f"{package} {importlib.metadata.version(package)}")


def _looks_like_bare_dicom(content: bytes) -> bool:
    """A data set without preamble starts with group 0002 or 0008, little or big endian."""
    return content[:4] in {
        b"\x02\x00\x00\x00",
        b"\x02\x00\x01\x00",
        b"\x08\x00\x00\x00",
        b"\x08\x00\x05\x00",
        b"\x08\x00\x08\x00",
        b"\x08\x00\x16\x00",
        b"\x00\x08\x00\x05",
        b"\x00\x08\x00\x08",
    }


def _transfer_syntax(dataset: Any) -> str:
    meta = getattr(dataset, "file_meta", None)
    syntax = str(getattr(meta, "TransferSyntaxUID", "") or "1.2.840.10008.1.2")
    if syntax.startswith(_VIDEO):
        raise RefusedError(Reason.VIDEO_CODEC, syntax)
    if syntax not in _NATIVE and syntax not in _DECODERS:
        raise RefusedError(Reason.UNSUPPORTED_SYNTAX, syntax if all(c.isdigit() or c == "." for c in syntax) else "")
    return syntax


def _check_structure(dataset: Any, content: bytes, syntax: str) -> int:
    """Sizes against limits and against what is there; returns the number of frames."""
    if "PixelData" not in dataset:
        raise RefusedError(Reason.NO_PIXELS)
    rows, columns, samples, bits = (
        _whole(dataset, name) for name in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
    )
    frames = max(1, _whole(dataset, "NumberOfFrames", default=1))
    if rows * columns > MAX_PIXELS or frames > MAX_FRAMES:
        raise RefusedError(Reason.TOO_LARGE, f"{rows} x {columns} x {frames}")
    if syntax in _NATIVE:
        want = rows * columns * samples * frames * bits // 8
        have = len(dataset.PixelData)
        if have < want:
            raise RefusedError(Reason.TRUNCATED_PIXELS, f"{have} of {want} bytes")
    elif _TAIL not in content[-64:]:
        raise RefusedError(Reason.TRUNCATED_PIXELS, "no sequence delimiter at the end")
    return frames


def _whole(dataset: Any, name: str, default: int | None = None) -> int:
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


def _decode(content: bytes, dataset: Any, index: int, plugin: str, count: int) -> np.ndarray:
    from pydicom.pixels import pixel_array

    del content
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pixels = pixel_array(dataset, index=index if count > 1 else None, decoding_plugin=plugin)
        except UNTRUSTED as error:
            raise RefusedError(Reason.DECODE_FAILED, type(error).__name__) from None
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if pixels.shape[:2] != (rows, columns):
        raise RefusedError(Reason.SIZE_MISMATCH, f"{pixels.shape[0]} x {pixels.shape[1]} for {rows} x {columns}")
    return pixels


def _luminance(pixels: np.ndarray, dataset: Any) -> np.ndarray:
    """Brightness, brighter is more: pydicom has turned YBR to RGB already; palettes and MONOCHROME1 are turned here."""
    from pydicom.pixels import apply_color_lut

    meaning = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if meaning == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
    native = np.ascontiguousarray(pixels).astype(pixels.dtype.newbyteorder("="), copy=False)
    if native.ndim == 3:
        return luminance_of_color(native)
    if meaning == "MONOCHROME1":
        return ((1 << int(dataset.BitsStored)) - 1 - native.astype(np.int64)).astype(native.dtype)
    return native


def luminance_of_color(color: np.ndarray) -> np.ndarray:
    """(H, W, 3 or 4) colour to (H, W) luminance: the channel itself where all agree, else ITU-R BT.601 in float32."""
    red, green, blue = color[..., 0], color[..., 1], color[..., 2]
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return np.ascontiguousarray(red)
    return (color[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)).astype(np.float32)
