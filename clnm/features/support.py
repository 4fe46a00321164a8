"""The ROI as the kernels see it: its box, its pixels in row order, and a grid with a border to count neighbours in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Support:
    """One ROI of one image, computed once for all its filtered images."""

    image: np.ndarray
    """(H, W) float64, the whole image."""
    box: tuple[int, int, int, int]
    """First row, last row + 1, first column, last column + 1 of the ROI."""
    mask: np.ndarray
    """(h, w) boolean, the ROI in its box."""
    pixels: np.ndarray
    """(n,) uintp, positions in `grid`, in row order."""
    grid: np.ndarray
    """Flat int32 of a (h + 2, w + 2) grid, 0 outside the ROI. The kernels write the ROI's ranks into it."""
    spacing_xy_mm: tuple[float, float]
    lowest: float
    """Smallest value of the whole image."""
    highest: float

    @property
    def width(self) -> int:
        """Columns of `grid`."""
        return int(self.mask.shape[1]) + 2

    def values(self, filtered: np.ndarray) -> np.ndarray:
        """The ROI's values of an image of the box, in row order."""
        return filtered[self.mask]


def support_of(luminance: np.ndarray, mask: np.ndarray, spacing_xy_mm: tuple[float, float]) -> Support | None:
    """The ROI prepared for the kernels.

    None where the reference has to judge: the ROI is a point, a line or the whole image, or a value is not finite.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0 or mask.all():
        return None
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(mask[top:bottom].any(axis=0))
    left, right = int(columns[0]), int(columns[-1]) + 1
    if min(bottom - top, right - left) < 2:
        return None
    image = np.ascontiguousarray(luminance, dtype=np.float64)
    lowest, highest = float(image.min()), float(image.max())
    if not np.isfinite([lowest, highest]).all():
        return None
    inside = np.ascontiguousarray(mask[top:bottom, left:right], dtype=bool)
    pixels = np.flatnonzero(np.pad(inside, 1).ravel()).astype(np.uintp)
    grid = np.zeros((inside.shape[0] + 2) * (inside.shape[1] + 2), np.int32)
    return Support(image, (top, bottom, left, right), inside, pixels, grid, spacing_xy_mm, lowest, highest)
