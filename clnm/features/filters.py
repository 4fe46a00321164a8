"""pyradiomics' filtered images, in the ROI's box only and equal to the whole-image filters there.

A filter reads the box and its support; what depends on the whole image (the scale of the pointwise filters) is taken
from it. The Laplacian of Gaussian is in `recursive.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from clnm.features.jit import kernel

Box = tuple[int, int, int, int]
"""First row, last row + 1, first column, last column + 1."""


def pointwise(name: str, values: np.ndarray, lowest: float, highest: float) -> np.ndarray:
    """Square, SquareRoot, Logarithm or Exponential of `values` (n,), scaled as by pyradiomics.

    Args:
        name: the image type.
        values: (n,) float64, the ROI in row order.
        lowest: the smallest value of the whole image.
        highest: the largest; one of the two is not 0.
    """
    extreme = np.float64(max(abs(lowest), abs(highest)))
    if name == "Square":
        return ((1 / np.sqrt(extreme)) * values) ** 2
    if name == "Exponential":
        return np.exp((np.log(extreme) / extreme) * values)
    signed = np.abs(values)
    if name == "SquareRoot":
        signed = np.sqrt(signed * extreme)
        return np.where(values < 0, -signed, signed)
    signed = np.log(signed + 1)
    return np.where(values < 0, -signed, signed) * (extreme / np.log(extreme + 1))


def gradient_magnitude(image: np.ndarray, box: Box, spacing_xy_mm: tuple[float, float]) -> np.ndarray:
    """ITK's gradient magnitude in the box, (rows, columns) float32: central differences, edges repeated."""
    return _gradient(image, *box, 0.5 / float(spacing_xy_mm[0]), 0.5 / float(spacing_xy_mm[1]))


@kernel
def _gradient(
    image: np.ndarray, top: int, bottom: int, left: int, right: int, across: float, down: float
) -> np.ndarray:
    height, width = image.shape
    found = np.empty((bottom - top, right - left), np.float32)
    for r in range(top, bottom):
        above, below = max(r - 1, 0), min(r + 1, height - 1)
        for c in range(left, right):
            x = image[r, min(c + 1, width - 1)] * across - image[r, max(c - 1, 0)] * across
            y = image[below, c] * down - image[above, c] * down
            found[r - top, c - left] = np.float32(np.sqrt(x * x + y * y))
    return found


def local_binary_pattern(image: np.ndarray, box: Box, radius: float, samples: int) -> np.ndarray:
    """scikit-image's uniform local binary pattern in the box, (rows, columns) float64.

    The neighbours are interpolated at absolute positions: their rounding depends on where in the image a pixel is.
    """
    angle = 2 * np.pi * np.arange(samples, dtype=np.float64) / samples
    radius = float(np.float32(radius))
    down, across = np.round(-radius * np.sin(angle), 5), np.round(radius * np.cos(angle), 5)
    return _uniform_patterns(image, *box, down, across)


@kernel
def _uniform_patterns(
    image: np.ndarray, top: int, bottom: int, left: int, right: int, down: np.ndarray, across: np.ndarray
) -> np.ndarray:
    samples = down.size
    found = np.empty((bottom - top, right - left), np.float64)
    for r in range(top, bottom):
        for c in range(left, right):
            centre = image[r, c]
            ones, changes, before = 0, 0, -1
            for k in range(samples):
                bit = 1 if _interpolated(image, r + down[k], c + across[k]) - centre >= 0 else 0
                ones += bit
                changes += before >= 0 and bit != before
                before = bit
            found[r - top, c - left] = ones if changes <= 2 else samples + 1
    return found


@kernel
def _interpolated(image: np.ndarray, row: float, column: float) -> float:
    """Bilinear interpolation in scikit-image's order of operations, 0 outside the image."""
    r, c = np.floor(row), np.floor(column)
    low, high = int(r), int(np.ceil(row))
    near, far = int(c), int(np.ceil(column))
    down, right = row - r, column - c
    top = (1 - right) * _pixel(image, low, near) + right * _pixel(image, low, far)
    bottom = (1 - right) * _pixel(image, high, near) + right * _pixel(image, high, far)
    return (1 - down) * top + down * bottom


@kernel
def _pixel(image: np.ndarray, r: int, c: int) -> float:
    if r < 0 or c < 0 or r >= image.shape[0] or c >= image.shape[1]:
        return 0.0
    return image[r, c]


def wavelet_bands(image: np.ndarray, box: Box, wavelet: str) -> Iterator[tuple[str, np.ndarray]]:
    """The four bands of the stationary wavelet transform, level 1, in the box: LH, HL, HH, then LL.

    A box whose support stays inside the image is transformed alone, along each axis for itself; else the whole line is.
    """
    import pywt

    bank = pywt.Wavelet(wavelet)
    even = np.pad(image, [(0, length % 2) for length in image.shape], "wrap") if _is_odd(image) else image
    rows, inner_rows = _support(box[0], box[1], even.shape[0], bank.dec_len)
    columns, inner_columns = _support(box[2], box[3], even.shape[1], bank.dec_len)
    bands: Mapping[str, Any] = pywt.swtn(even[rows, columns], bank, level=1, start_level=0, axes=(1, 0))[0]
    names = [name for name in bands if name != "aa"] + ["aa"]
    for name in names:
        yield name.replace("a", "L").replace("d", "H"), np.ascontiguousarray(bands[name][inner_rows, inner_columns])


def _is_odd(image: np.ndarray) -> bool:
    return any(length % 2 for length in image.shape)


def _support(start: int, stop: int, length: int, reach: int) -> tuple[slice, slice]:
    """What to transform of an axis (an even number of samples), and where the box is in it."""
    margin = reach + 2
    first, last = start - margin, stop + margin
    last += (last - first) % 2
    if first < 0 or last > length:
        return slice(0, length), slice(start, stop)
    return slice(first, last), slice(start - first, stop - first)
