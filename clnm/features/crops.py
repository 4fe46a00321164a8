"""What a network sees: the ROI and its surroundings, pixels of one size in millimetres, grey on a fixed scale."""

from __future__ import annotations

import numpy as np

SIZE_PX = 96
PIXEL_MM = 0.25
"""A field of 24 mm: ROIs up to 16 mm long are seen at one scale, the others at least whole."""
_MARGIN = 0.25
"""At least, of the ROI's longer side, on each side: what surrounds a lesion tells about its edge."""
_FULL_SCALE = {"uint8": 255.0, "uint16": 65535.0}
_TRUNCATE = 4.0
"""Standard deviations at which the Gaussian ends."""


def crop_roi(luminance: np.ndarray, mask: np.ndarray, spacing_xy_mm: tuple[float, float] | None) -> np.ndarray:
    """The network's input for one ROI.

    A field of 24 mm around the middle of the ROI's box, resampled bilinearly to 96 x 96 pixels of 0.25 mm, zero outside
    the image: a lesion's size and the grain of its texture look alike from every machine. Where the ROI with a margin
    of a quarter of its longer side is longer than the field, or the spacing is unknown (pixels are then taken as
    square), that fills the field.
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
    step = side / SIZE_PX if spacing_xy_mm is None else max(PIXEL_MM, side / SIZE_PX)
    offsets = (np.arange(SIZE_PX) + 0.5 - SIZE_PX / 2) * step
    y, x = center_y + offsets / sy, center_x + offsets / sx
    # sigma = (step - 1) / 2 before shrinking, as scikit-image has it, so that fine speckle does not alias
    sigma = (max(0.0, (step / sy - 1) / 2), max(0.0, (step / sx - 1) / 2))
    near_y, near_x = _window(y, sigma[0], luminance.shape[0]), _window(x, sigma[1], luminance.shape[1])
    smooth = luminance[near_y, near_x].astype(np.float32) / _FULL_SCALE.get(luminance.dtype.name, 255.0)
    if any(sigma):
        smooth = ndimage.gaussian_filter(smooth, sigma, truncate=_TRUNCATE)
    grid = np.meshgrid(y - near_y.start, x - near_x.start, indexing="ij")
    return ndimage.map_coordinates(smooth, grid, order=1, mode="constant").astype(np.float32)


def _window(positions: np.ndarray, sigma: float, length: int) -> slice:
    """The pixels of an axis that the Gaussian and the interpolation at these positions ask for."""
    reach = _TRUNCATE * sigma + 2
    return slice(max(0, int(positions[0] - reach)), min(length, int(positions[-1] + reach) + 1))
