"""First-order statistics of an ROI from one sort of its values. Formulas: pyradiomics 3.0.1, `firstorder.py`."""

from __future__ import annotations

import numpy as np

from clnm.features.jit import kernel

EPSILON = np.spacing(1.0)
"""Added inside every logarithm, as pyradiomics does."""
_NEARLY_FLAT = 1e-3
"""Values within this part of the largest: the last bit of the mean is seen in the moments (3 times its error over the
standard deviation in the skewness; wavelets of a flat image differ by rounding alone)."""


def firstorder_features(values: np.ndarray, pixels: np.ndarray, area: float, shift: float) -> np.ndarray:
    """The 18 features in the order of `names.FEATURES`.

    Args:
        values: (n,) float64, the ROI in row order.
        pixels: (levels,) how many pixels each present grey level has.
        area: of one pixel, mm2 (or 1 for pixels).
        shift: `voxelArrayShift`, added before squaring.
    """
    ordered = np.sort(values)
    found = np.empty(18)
    _statistics(ordered, pixels, area, shift, found)
    if ordered[-1] - ordered[0] <= _NEARLY_FLAT * max(abs(ordered[0]), abs(ordered[-1])):
        _flat_moments(values, found)
    return found


def _flat_moments(values: np.ndarray, found: np.ndarray) -> None:
    """What rounding of the mean leaves of the moments of a (nearly) flat ROI: the reference's own sums decide."""
    row = values.reshape(1, -1)
    mean = np.nanmean(row, 1, keepdims=True)
    second, third, fourth = (float(np.nanmean(np.power(row - mean, power), 1)[0]) for power in (2, 3, 4))
    second = second or 1.0
    found[5], found[14] = fourth / second**2.0, third / second**1.5
    found[7] = np.nanmean(np.absolute(row - mean), 1)[0]
    inner = np.where((row < found[0]) | (row > found[1]), np.nan, row)
    found[12] = np.nanmean(np.absolute(inner - np.nanmean(inner, 1, keepdims=True)), 1)[0]
    found[17] = np.nanstd(row, 1)[0] ** 2


@kernel
def _statistics(x: np.ndarray, pixels: np.ndarray, area: float, shift: float, found: np.ndarray) -> None:
    n = x.size
    mean = _mean_power(x, 0, n, 0.0, 1)
    low, quarter, middle = percentile(x, 0.10), percentile(x, 0.25), percentile(x, 0.5)
    upper, high = percentile(x, 0.75), percentile(x, 0.90)
    second = _mean_power(x, 0, n, mean, 2)
    energy = _mean_power(x, 0, n, -shift, 2)
    total = 0.0
    for count in pixels:
        total += count
    entropy = 0.0
    uniformity = 0.0
    for count in pixels:
        p = count / total
        entropy -= p * np.log2(p + EPSILON)
        uniformity += p * p
    start, stop = 0, n
    while start < n and x[start] < low:
        start += 1
    while stop > start and x[stop - 1] > high:
        stop -= 1
    robust = _mean_power(x, start, stop, 0.0, 1)
    divisor = second if second != 0.0 else 1.0
    found[0], found[1] = low, high
    found[2] = energy * n
    found[3] = entropy
    found[4] = upper - quarter
    found[5] = _mean_power(x, 0, n, mean, 4) / divisor**2
    found[6], found[8] = x[n - 1], mean
    found[7] = _mean_distance(x, 0, n, mean)
    found[9], found[10] = middle, x[0]
    found[11] = x[n - 1] - x[0]
    found[12] = _mean_distance(x, start, stop, robust)
    found[13] = np.sqrt(energy)
    found[14] = _mean_power(x, 0, n, mean, 3) / divisor**1.5
    found[15] = energy * n * area
    found[16] = uniformity
    found[17] = second


@kernel
def percentile(x: np.ndarray, fraction: float) -> float:
    """Numpy's linear percentile of sorted values, operation by operation: ties with it decide the robust deviation."""
    position = (x.size - 1) * fraction
    below = int(np.floor(position))
    above = min(below + 1, x.size - 1)
    weight = position - below
    step = x[above] - x[below]
    if weight >= 0.5:
        return x[above] - step * (1 - weight)
    return x[below] + step * weight


@kernel
def _mean_power(x: np.ndarray, start: int, stop: int, centre: float, power: int) -> float:
    """Mean of (x - centre)**power over a slice, in four sums: faster, and more exact, than one."""
    sums = np.zeros(4)
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    body = start + ((stop - start) // 4) * 4
    if power == 1:
        for k in range(start, body, 4):
            a += x[k] - centre
            b += x[k + 1] - centre
            c += x[k + 2] - centre
            d += x[k + 3] - centre
    elif power == 2:
        for k in range(start, body, 4):
            a += (x[k] - centre) ** 2
            b += (x[k + 1] - centre) ** 2
            c += (x[k + 2] - centre) ** 2
            d += (x[k + 3] - centre) ** 2
    elif power == 3:
        for k in range(start, body, 4):
            a += (x[k] - centre) ** 3
            b += (x[k + 1] - centre) ** 3
            c += (x[k + 2] - centre) ** 3
            d += (x[k + 3] - centre) ** 3
    else:
        for k in range(start, body, 4):
            a += ((x[k] - centre) ** 2) ** 2
            b += ((x[k + 1] - centre) ** 2) ** 2
            c += ((x[k + 2] - centre) ** 2) ** 2
            d += ((x[k + 3] - centre) ** 2) ** 2
    sums[0], sums[1], sums[2], sums[3] = a, b, c, d
    for k in range(body, stop):
        sums[0] += (x[k] - centre) ** power
    return (sums[0] + sums[1] + (sums[2] + sums[3])) / (stop - start)


@kernel
def _mean_distance(x: np.ndarray, start: int, stop: int, centre: float) -> float:
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    body = start + ((stop - start) // 4) * 4
    for k in range(start, body, 4):
        a += abs(x[k] - centre)
        b += abs(x[k + 1] - centre)
        c += abs(x[k + 2] - centre)
        d += abs(x[k + 3] - centre)
    for k in range(body, stop):
        a += abs(x[k] - centre)
    return (a + b + (c + d)) / (stop - start)
