"""How far a feature survives another reader, another contour and another gain: intraclass correlation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, stats

MIN_ROIS = 10
"""Fewer rated ROIs than this say nothing."""
MIN_LOWER_BOUND = 0.75
"""A feature is robust where the lower 95 % bound of each ICC there is reaches this: good reliability, by Koo and Li
(J Chiropr Med 2016; 15:155-163)."""
_SMALLEST_MASK_PX = 16
_CONTOUR_NOISE_PX, _CONTOUR_LENGTH_PX = 1.5, 4.0
_ANGLE_DEGREES = 5.0


@dataclass(frozen=True, slots=True)
class Agreement:
    """ICC(2,1) of each column with its 95 % interval: (columns,); NaN where nothing varies."""

    icc: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    n: int


def perturb(luminance: np.ndarray, mask: np.ndarray, *, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One ROI as another reader, another scanner setting or another probe angle might have given it.

    Args:
        luminance: (H, W), not negative.
        mask: (H, W) boolean.
        seed: of the contour's noise.

    Yields:
        (luminance, mask) pairs: as it is; the mask grown and shrunk by 1 and 2 pixels, with a noisy contour; gain up
        and down by 10 %, gamma 0.9 and 1.1; the whole turned by 5 degrees. Always the same number of them.
    """
    pixels = luminance.astype(np.float64)
    yield pixels, mask
    yield pixels, ndimage.binary_dilation(mask, iterations=1)
    yield pixels, ndimage.binary_dilation(mask, iterations=2)
    yield pixels, _large_enough(ndimage.binary_erosion(mask, iterations=1), mask)
    yield pixels, _large_enough(ndimage.binary_erosion(mask, iterations=2), mask)
    yield pixels, _large_enough(_noisy_contour(mask, seed), mask)
    top = max(float(pixels.max()), 1.0)
    yield np.clip(pixels * 1.1, 0, top), mask
    yield pixels * 0.9, mask
    yield top * (pixels / top) ** 0.9, mask
    yield top * (pixels / top) ** 1.1, mask
    yield _turned(pixels, mask)


N_PERTURBATIONS = 11


def icc_2_1(ratings: np.ndarray) -> Agreement:
    """Absolute agreement of single ratings, two-way random effects: ICC(2,1) of Shrout and Fleiss.

    Formula and interval: McGraw and Wong, Psychol Methods 1996; 1:30-46, ICC(A,1), tables 4 and 7.

    Args:
        ratings: (n, k, columns): n ROIs, each rated k times. A ROI with a value missing is left out of that column.
    """
    whole = np.isfinite(ratings).all(axis=1)
    found = [_icc_of_column(ratings[whole[:, column], :, column]) for column in range(ratings.shape[2])]
    icc, lower, upper = np.array(found).reshape(-1, 3).T
    return Agreement(icc, lower, upper, len(ratings))


def is_robust(*agreements: Agreement | None) -> np.ndarray:
    """(columns,) of True, False, or None where too few ROIs were rated to say."""
    told = [agreement for agreement in agreements if agreement is not None and agreement.n >= MIN_ROIS]
    if not told:
        width = next((len(agreement.icc) for agreement in agreements if agreement is not None), 0)
        return np.full(width, None, dtype=object)
    lower = np.array([agreement.lower for agreement in told])
    verdict = (np.nan_to_num(lower, nan=-1.0) >= MIN_LOWER_BOUND).all(axis=0).astype(object)
    verdict[np.isnan(lower).all(axis=0)] = None
    return verdict


def _icc_of_column(rated: np.ndarray) -> tuple[float, float, float]:
    """ICC and its bounds for (n, k) ratings."""
    n, k = rated.shape
    if n < MIN_ROIS:
        return np.nan, np.nan, np.nan
    grand = rated.mean()
    rows = k * ((rated.mean(axis=1) - grand) ** 2).sum() / (n - 1)
    columns = n * ((rated.mean(axis=0) - grand) ** 2).sum() / (k - 1)
    residual = rated - rated.mean(axis=1, keepdims=True) - rated.mean(axis=0, keepdims=True) + grand
    error = (residual**2).sum() / ((n - 1) * (k - 1))
    if rows <= (1e-12 * grand) ** 2:  # nothing but rounding varies
        return np.nan, np.nan, np.nan
    icc = (rows - error) / (rows + (k - 1) * error + k * (columns - error) / n)
    if icc >= 1.0:
        return 1.0, 1.0, 1.0
    a, b = k * icc / (n * (1 - icc)), 1 + k * icc * (n - 1) / (n * (1 - icc))
    spread = (a * columns) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1))
    freedom = (a * columns + b * error) ** 2 / spread if spread > 0 else np.inf
    common = k * columns + (k * n - k - n) * error
    above, below = stats.f.ppf(0.975, n - 1, freedom), stats.f.ppf(0.975, freedom, n - 1)
    lower = n * (rows - above * error) / (above * common + n * rows)
    return icc, lower, n * (below * rows - error) / (common + n * below * rows)


def _large_enough(changed: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The changed mask, or the mask as it was where next to nothing is left."""
    return changed if changed.sum() >= min(_SMALLEST_MASK_PX, mask.sum()) else mask


def _noisy_contour(mask: np.ndarray, seed: int) -> np.ndarray:
    """The contour moved by smooth noise of `_CONTOUR_NOISE_PX` (standard deviation), in or out."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=mask.shape), _CONTOUR_LENGTH_PX)
    distance = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    return np.asarray(distance + _CONTOUR_NOISE_PX * noise / noise.std() > 0)


def _turned(pixels: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    image = ndimage.rotate(pixels, _ANGLE_DEGREES, reshape=False, order=1, mode="nearest")
    turned = ndimage.rotate(mask.astype(np.float64), _ANGLE_DEGREES, reshape=False, order=1, mode="constant") >= 0.5
    return image, _large_enough(turned, mask)
