"""Picture files (PNG, JPEG, BMP, TIFF) to luminance."""

from __future__ import annotations

import io

import numpy as np

from clnm.entities import Reason
from clnm.imaging.decode import Frame, luminance_of_color, named
from clnm.imaging.dicom import MAX_PIXELS
from clnm.imaging.refusal import UNTRUSTED, RefusedError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def read_picture(content: bytes) -> Frame:
    """A picture file as luminance.

    Raises:
        RefusedError: it is empty, too large, or does not decode.
    """
    from PIL import Image

    if not content:
        raise RefusedError(Reason.EMPTY)
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "BMP", "TIFF")) as picture:
            _demand_bearable(picture.height, picture.width)
            name = f"picture/{(picture.format or '').lower()}"
            keeps_depth = picture.mode in {"L", "I;16", "I;16B", "I", "F"}
            pixels = np.asarray(picture if keeps_depth else picture.convert("RGB"))
    except RefusedError:
        raise
    except Image.DecompressionBombError:
        raise RefusedError(Reason.TOO_LARGE) from None
    except UNTRUSTED as error:
        is_cut = isinstance(error, OSError) and "truncated" in str(error)
        raise RefusedError(Reason.TRUNCATED_PIXELS if is_cut else Reason.DECODE_FAILED, type(error).__name__) from None
    luminance = pixels if pixels.ndim == 2 else luminance_of_color(pixels)
    if luminance.dtype.kind == "i" and luminance.min() >= 0 and luminance.max() <= np.iinfo(np.uint16).max:
        luminance = luminance.astype(np.uint16)
    luminance = luminance.astype(luminance.dtype.newbyteorder("="), copy=False)
    if luminance.dtype not in (np.uint8, np.uint16):
        luminance = luminance.astype(np.float32)
        if not np.isfinite(luminance).all():
            raise RefusedError(Reason.DECODE_FAILED, "not finite")
    return Frame(luminance, 0, 1, name, named("pillow"))


def _demand_bearable(rows: int, columns: int) -> None:
    if rows * columns > MAX_PIXELS:
        raise RefusedError(Reason.TOO_LARGE, f"{rows} x {columns}")
