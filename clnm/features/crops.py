"""The square a network sees: the ROI with a margin, resampled to a fixed size, intensities on a fixed scale."""

from __future__ import annotations

import numpy as np

SIZE_PX = 96
_MARGIN = 0.25
"""Of the ROI's longer side, on each side: what surrounds a lesion tells about its edge."""
_FULL_SCALE = {"uint8": 255.0, "uint16": 65535.0}


def crop_roi(luminance: np.ndarray, mask: np.ndarray, spacing_xy_mm: tuple[float, float] | None) -> np.ndarray:
    """The network's input for one ROI.

    The square is as long as the ROI's longer side (in millimetres where the spacing is known, so that unequal spacings
    are undone) plus a margin, centred on the ROI's box, zero outside the image, resampled bilinearly to 96 x 96 pixels.
    Intensities are divided by the type's full scale: a center's gain stays visible, which drift must see.

    Args:
        luminance: (H, W).
        mask: (H, W) boolean, not empty.
        spacing_xy_mm: millimetres per pixel along x and y, or None.

    Returns:
        (96, 96) float32 in [0, 1].
    """
    from scipy import ndimage

    sx, sy = spacing_xy_mm or (1.0, 1.0)
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    center_y, center_x = (rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2
    side = max((rows[-1] - rows[0] + 1) * sy, (columns[-1] - columns[0] + 1) * sx) * (1 + 2 * _MARGIN)
    steps = ((np.arange(SIZE_PX) + 0.5) / SIZE_PX - 0.5) * side
    grid = np.meshgrid(center_y + steps / sy, center_x + steps / sx, indexing="ij")
    scale = _FULL_SCALE.get(luminance.dtype.name, 255.0)
    smooth = _without_aliasing(luminance.astype(np.float32) / scale, side / SIZE_PX / sx, side / SIZE_PX / sy)
    return ndimage.map_coordinates(smooth, grid, order=1, mode="constant").astype(np.float32)


def _without_aliasing(image: np.ndarray, shrink_x: float, shrink_y: float) -> np.ndarray:
    """A Gaussian as wide as the sampling step before shrinking (sigma = (step - 1) / 2, as scikit-image does)."""
    from scipy import ndimage

    sigma = (max(0.0, (shrink_y - 1) / 2), max(0.0, (shrink_x - 1) / 2))
    return ndimage.gaussian_filter(image, sigma) if any(sigma) else image
