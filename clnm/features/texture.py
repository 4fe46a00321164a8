"""Run length, zone, dependence and tone difference features from their counts. Formulas: pyradiomics 3.0.1."""

from __future__ import annotations

import numpy as np

from clnm.features.jit import kernel

EPSILON = np.spacing(1.0)
STATISTICS = 16
_ENTROPY, _NU, _NUN, _VARIANCE, _GLN, _GLNN, _GLV, _HIGH, _LOW = range(9)
_LARGE, _LARGE_HIGH, _LARGE_LOW, _SMALL, _SMALL_HIGH, _SMALL_LOW, _PERCENTAGE = range(9, STATISTICS)

ORDER: dict[str, tuple[int, ...]] = {
    "glrlm": (
        _GLN, _GLNN, _GLV, _HIGH, _LARGE, _LARGE_HIGH, _LARGE_LOW, _LOW, _ENTROPY, _NU, _NUN, _PERCENTAGE, _VARIANCE,
        _SMALL, _SMALL_HIGH, _SMALL_LOW,
    ),
    "glszm": (
        _GLN, _GLNN, _GLV, _HIGH, _LARGE, _LARGE_HIGH, _LARGE_LOW, _LOW, _NU, _NUN, _SMALL, _SMALL_HIGH, _SMALL_LOW,
        _ENTROPY, _PERCENTAGE, _VARIANCE,
    ),
    "gldm": (
        _ENTROPY, _NU, _NUN, _VARIANCE, _GLN, _GLV, _HIGH, _LARGE, _LARGE_HIGH, _LARGE_LOW, _LOW, _SMALL, _SMALL_HIGH,
        _SMALL_LOW,
    ),
}  # fmt: skip
"""Where each feature of `names.FEATURES` stands among the statistics of `size_statistics`."""


@kernel
def size_statistics(counts: np.ndarray, sizes: np.ndarray, gray: np.ndarray) -> np.ndarray:
    """The 16 statistics of a matrix of counts by grey level and size (run length, zone area, dependence).

    Args:
        counts: (levels, sizes) int32.
        sizes: (sizes,) float64, the size of each column.
        gray: (levels,) float64, the grey level of each row.

    Returns:
        (16,) float64; `_ENTROPY` and its neighbours say which is where.
    """
    found = np.empty(STATISTICS)
    many, kinds = counts.shape
    total = 0.0
    by_size = np.zeros(kinds)
    by_gray = np.zeros(many)
    small_low, small_high, large_low, large_high, entropy = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(many):
        for j in range(kinds):
            total += counts[i, j]
    for i in range(many):
        squared = gray[i] ** 2
        for j in range(kinds):
            if counts[i, j] == 0:
                continue
            count = float(counts[i, j])
            size = sizes[j] ** 2
            by_gray[i] += count
            by_size[j] += count
            small_low += count / (squared * size)
            small_high += count * squared / size
            large_low += count * size / squared
            large_high += count * size * squared
            p = count / total
            entropy -= p * np.log2(p + EPSILON)
    low, high, gray_nu, gray_mean = 0.0, 0.0, 0.0, 0.0
    for i in range(many):
        low += by_gray[i] / gray[i] ** 2
        high += by_gray[i] * gray[i] ** 2
        gray_nu += by_gray[i] ** 2
        gray_mean += by_gray[i] / total * gray[i]
    small, large, size_nu, size_mean, area = 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(kinds):
        small += by_size[j] / sizes[j] ** 2
        large += by_size[j] * sizes[j] ** 2
        size_nu += by_size[j] ** 2
        size_mean += by_size[j] / total * sizes[j]
        area += by_size[j] * sizes[j]
    gray_variance, size_variance = 0.0, 0.0
    for i in range(many):
        gray_variance += by_gray[i] / total * (gray[i] - gray_mean) ** 2
    for j in range(kinds):
        size_variance += by_size[j] / total * (sizes[j] - size_mean) ** 2
    found[_ENTROPY], found[_NU], found[_NUN], found[_VARIANCE] = (
        entropy,
        size_nu / total,
        size_nu / total**2,
        size_variance,
    )
    found[_GLN], found[_GLNN], found[_GLV] = gray_nu / total, gray_nu / total**2, gray_variance
    found[_HIGH], found[_LOW], found[_LARGE], found[_SMALL] = high / total, low / total, large / total, small / total
    found[_LARGE_HIGH], found[_LARGE_LOW] = large_high / total, large_low / total
    found[_SMALL_HIGH], found[_SMALL_LOW] = small_high / total, small_low / total
    found[_PERCENTAGE] = total / area
    return found


@kernel
def run_statistics(runs: np.ndarray, gray: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """`size_statistics` of each angle marked in `kept` (4,), averaged over those angles."""
    longest = runs.shape[2]
    while longest > 1 and not runs[:, :, longest - 1].any():
        longest -= 1
    sizes = np.arange(1.0, longest + 1.0)
    total = np.zeros(STATISTICS)
    angles = 0
    for angle in range(runs.shape[0]):
        if kept[angle]:
            total += size_statistics(runs[angle, :, :longest], sizes, gray)
            angles += 1
    return total / angles


@kernel
def tone_features(pixels: np.ndarray, difference: np.ndarray, gray: np.ndarray) -> np.ndarray:
    """The 5 NGTDM features: Busyness, Coarseness, Complexity, Contrast, Strength.

    Args:
        pixels: (levels,) pixels of each present grey level.
        difference: (levels,) summed difference of those pixels from the mean of their neighbours.
        gray: (levels,) the grey levels.
    """
    many = gray.size
    total = pixels.sum()
    p = pixels / total
    coarse = 0.0
    for i in range(many):
        coarse += p[i] * difference[i]
    contrast, spread, complexity, strength = 0.0, 0.0, 0.0, 0.0
    for i in range(many):
        for j in range(i):
            apart = abs(gray[i] - gray[j])
            contrast += p[i] * p[j] * apart**2
            spread += abs(gray[i] * p[i] - gray[j] * p[j])
            complexity += apart * (p[i] * difference[i] + p[j] * difference[j]) / (p[i] + p[j])
            strength += (p[i] + p[j]) * apart**2
    summed = difference.sum()
    found = np.zeros(5)
    found[0] = coarse / (2 * spread) if spread != 0.0 else 0.0
    found[1] = 1 / coarse if coarse != 0.0 else 1e6
    found[2] = 2 * complexity / total
    if many > 1:
        found[3] = 2 * contrast * summed / total / (many * (many - 1))
    found[4] = 2 * strength / summed if summed != 0.0 else 0.0
    return found
