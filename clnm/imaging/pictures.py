"""Picture files (PNG, JPEG, BMP, TIFF) to luminance."""

from __future__ import annotations

import importlib.metadata
import io
import warnings

import numpy as np

from clnm.entities import Reason
from clnm.imaging.decode import MAX_PIXELS, Frame, luminance_of_color
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "BMP", "TIFF")) as picture:
                _demand_bearable(picture.height, picture.width)
                name = f"picture/{(picture.format or '').lower()}"
                keeps_depth = picture.mode in {"L", "I;16", "I;16B", "I"}
                pixels = np.asarray(picture if keeps_depth else picture.convert("RGB"))
        except RefusedError:
            raise
        except UNTRUSTED as error:
            raise RefusedError(Reason.DECODE_FAILED, type(error).__name__) from None
    luminance = pixels if pixels.ndim == 2 else luminance_of_color(pixels)
    if luminance.dtype.kind == "i":
        luminance = luminance.astype(np.uint16)
    return Frame(luminance, 0, name, f"pillow {importlib.metadata.version('pillow')}")


def _demand_bearable(rows: int, columns: int) -> None:
    if rows * columns > MAX_PIXELS:
        raise RefusedError(Reason.TOO_LARGE, f"{rows} x {columns}")
