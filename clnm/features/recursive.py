"""Laplacian of Gaussian over the ROI's box, equal to ITK's recursive filter to the last bit of its float32 result.

ITK's `LaplacianRecursiveGaussianImageFilter` runs R. Deriche's fourth-order recursion (INRIA report 1893, 1993) along
whole lines, rounds to float32 after each direction and adds the directions up in float32. The same operations are done
here in the same order, 32 lines side by side, and only as far along each line as the box needs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from clnm.features.jit import kernel, uintp

LANES = 32
"""Lines filtered side by side; a compile-time constant, so that the compiler may use vector instructions."""

_W1, _L1, _W2, _L2 = 0.6681, -1.3932, 2.0787, -1.3732
_SMOOTHING = (1.3530, 1.8151, -0.3531, 0.0902)
_SECOND_DERIVATIVE = (-1.3563, 5.2318, 0.3446, -2.2355)
"""Deriche's exponential series for a Gaussian and its second derivative, as in ITK's RecursiveGaussianImageFilter."""


def laplacians(
    image: np.ndarray, box: tuple[int, int, int, int], spacing_xy_mm: tuple[float, float], sigmas_mm: Sequence[float]
) -> Iterator[np.ndarray]:
    """The scale-normalised LoG of `image` for each sigma, inside `box`.

    Args:
        image: (H, W) float64, at least 4 pixels each way.
        box: first row, last row + 1, first column, last column + 1.
        spacing_xy_mm: millimetres per pixel along x and y.
        sigmas_mm: standard deviations in millimetres, above 0.

    Yields:
        One (rows, columns) float32 array per sigma, equal to what SimpleITK gives there.
    """
    top, bottom, left, right = box
    spacing_x, spacing_y = (float(value) for value in spacing_xy_mm)
    columns = pack_lines(image.T)
    rows = pack_lines(image)
    weight_x, weight_y = 1.0 / (spacing_x * spacing_x), 1.0 / (spacing_y * spacing_y)
    for sigma in sigmas_mm:
        along_x = _filtered(
            rows, coefficients(sigma, spacing_x, derivative=True), coefficients(sigma, spacing_y, derivative=False),
            (left, right), (top, bottom), image.shape[0],
        )  # fmt: skip
        along_y = _filtered(
            columns, coefficients(sigma, spacing_y, derivative=True), coefficients(sigma, spacing_x, derivative=False),
            (top, bottom), (left, right), image.shape[1],
        ).T  # fmt: skip
        yield add_directions(along_x, along_y, weight_x, weight_y)


def add_directions(along_x: np.ndarray, along_y: np.ndarray, weight_x: float, weight_y: float) -> np.ndarray:
    """Sum of the two second derivatives, rounded to float32 after each term as ITK's accumulator is."""
    first = (along_x.astype(np.float64) * weight_x).astype(np.float32)
    return (first.astype(np.float64) + along_y.astype(np.float64) * weight_y).astype(np.float32)


def _filtered(
    lines: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    along: tuple[int, int],
    across: tuple[int, int],
    count: int,
) -> np.ndarray:
    """Filter packed lines along themselves, then across; what is left is (across, along) of the box, float32."""
    width = along[1] - along[0]
    turned = filter_lines(lines, first, along[0], along[1], count)
    strips = filter_lines(turned, second, across[0], across[1], width)
    return strips.transpose(0, 2, 1).reshape(-1, width)[: across[1] - across[0]]


def pack_lines(image: np.ndarray) -> np.ndarray:
    """The rows of (n, length) as strips (ceil(n / LANES), length, LANES), the last one filled up with zeros."""
    count, length = image.shape
    strips = np.zeros((-(-count // LANES), length, LANES))
    for index in range(strips.shape[0]):
        part = image[index * LANES : (index + 1) * LANES]
        strips[index, :, : part.shape[0]] = part.T
    return strips


def coefficients(sigma: float, spacing: float, *, derivative: bool) -> np.ndarray:
    """The 20 coefficients N0-N3, D1-D4, M1-M4, BN1-BN4, BM1-BM4 of one direction, in ITK's order of operations."""
    scaled = sigma / spacing
    cos1, cos2 = math.cos(_W1 / scaled), math.cos(_W2 / scaled)
    exp1, exp2 = math.exp(_L1 / scaled), math.exp(_L2 / scaled)
    d4 = exp1 * exp1 * exp2 * exp2
    d3 = -2 * cos1 * exp1 * exp2 * exp2
    d3 += -2 * cos2 * exp2 * exp1 * exp1
    d2 = 4 * cos2 * cos1 * exp1 * exp2
    d2 += exp1 * exp1 + exp2 * exp2
    d1 = -2 * (exp2 * cos2 + exp1 * cos1)
    sd = 1.0 + d1 + d2 + d3 + d4
    dd = d1 + 2 * d2 + 3 * d3 + 4 * d4
    ed = d1 + 4 * d2 + 9 * d3 + 16 * d4
    n, sn, dn, en = _numerators(scaled, _SMOOTHING)
    if derivative:
        curved, sn2, dn2, en2 = _numerators(scaled, _SECOND_DERIVATIVE)
        beta = -(2 * sn2 - sd * curved[0]) / (2 * sn - sd * n[0])
        n = [two + beta * zero for two, zero in zip(curved, n, strict=True)]
        sn, dn, en = sn2 + beta * sn, dn2 + beta * dn, en2 + beta * en
        alpha = en * sd * sd - ed * sn * sd - 2 * dn * dd * sd + 2 * dd * dd * sn
        alpha /= sd * sd * sd
        scale = sigma * sigma / alpha
    else:
        scale = 1.0 / (2 * sn / sd - n[0])
    n0, n1, n2, n3 = (value * scale for value in n)
    m = (n1 - d1 * n0, n2 - d2 * n0, n3 - d3 * n0, -d4 * n0)
    sn, sm = n0 + n1 + n2 + n3, m[0] + m[1] + m[2] + m[3]
    d = (d1, d2, d3, d4)
    return np.array([n0, n1, n2, n3, *d, *m, *(value * sn / sd for value in d), *(value * sm / sd for value in d)])


def _numerators(scaled: float, series: tuple[float, float, float, float]) -> tuple[list[float], float, float, float]:
    a1, b1, a2, b2 = series
    sin1, sin2 = math.sin(_W1 / scaled), math.sin(_W2 / scaled)
    cos1, cos2 = math.cos(_W1 / scaled), math.cos(_W2 / scaled)
    exp1, exp2 = math.exp(_L1 / scaled), math.exp(_L2 / scaled)
    n0 = a1 + a2
    n1 = exp2 * (b2 * sin2 - (a2 + 2 * a1) * cos2)
    n1 += exp1 * (b1 * sin1 - (a1 + 2 * a2) * cos1)
    n2 = (a1 + a2) * cos2 * cos1
    n2 -= b1 * cos2 * sin1 + b2 * cos1 * sin2
    n2 *= 2 * exp1 * exp2
    n2 += a2 * exp1 * exp1 + a1 * exp2 * exp2
    n3 = exp2 * exp1 * exp1 * (b2 * sin2 - a2 * cos2)
    n3 += exp1 * exp2 * exp2 * (b1 * sin1 - a1 * cos1)
    return [n0, n1, n2, n3], n0 + n1 + n2 + n3, n1 + 2 * n2 + 3 * n3, n1 + 4 * n2 + 9 * n3


@kernel
def filter_lines(strips: np.ndarray, c: np.ndarray, start: int, stop: int, count: int) -> np.ndarray:
    """Filter `count` packed lines; keep [start, stop) along them, rounded to float32, packed the other way round.

    In: (strips, length, LANES). Out: (ceil((stop - start) / LANES), count, LANES), ready to be filtered across.
    """
    length = strips.shape[1]
    kept = stop - start
    out = np.zeros((-(-kept // LANES), count, LANES), np.float32)
    line = np.empty(length * LANES, np.float64)
    causal = np.empty(length * LANES, np.float64)
    anticausal = np.empty(length * LANES, np.float64)
    for strip in range(strips.shape[0]):
        block = strips[strip].ravel()
        for t in range(length * LANES):
            line[t] = block[t]
        _forward(line, causal, max(stop, 4), c)
        _backward(line, anticausal, length, min(start, length - 4), c)
        lanes = min(LANES, count - strip * LANES)
        for lane in range(lanes):
            row = strip * LANES + lane
            for i in range(kept):
                t = (start + i) * LANES + lane
                out[i // LANES, row, i % LANES] = np.float32(causal[t] + anticausal[t])
    return out


@kernel
def _forward(x: np.ndarray, s: np.ndarray, stop: int, c: np.ndarray) -> None:
    """The causal recursion from the first sample to `stop`; the first sample is taken to go on before the line."""
    n0, n1, n2, n3, d1, d2, d3, d4 = c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]
    b1, b2, b3, b4 = c[12], c[13], c[14], c[15]
    for j in range(LANES):
        e, x1, x2, x3 = x[j], x[LANES + j], x[2 * LANES + j], x[3 * LANES + j]
        s0 = (e * n0 + e * n1 + e * n2 + e * n3) - (e * b1 + e * b2 + e * b3 + e * b4)
        s1 = (x1 * n0 + e * n1 + e * n2 + e * n3) - (s0 * d1 + e * b2 + e * b3 + e * b4)
        s2 = (x2 * n0 + x1 * n1 + e * n2 + e * n3) - (s1 * d1 + s0 * d2 + e * b3 + e * b4)
        s3 = (x3 * n0 + x2 * n1 + x1 * n2 + e * n3) - (s2 * d1 + s1 * d2 + s0 * d3 + e * b4)
        s[j], s[LANES + j], s[2 * LANES + j], s[3 * LANES + j] = s0, s1, s2, s3
    one, two, three, four = uintp(LANES), uintp(2 * LANES), uintp(3 * LANES), uintp(4 * LANES)
    for t in range(uintp(4 * LANES), uintp(stop * LANES)):
        s[t] = (x[t] * n0 + x[t - one] * n1 + x[t - two] * n2 + x[t - three] * n3) - (
            s[t - one] * d1 + s[t - two] * d2 + s[t - three] * d3 + s[t - four] * d4
        )


@kernel
def _backward(x: np.ndarray, s: np.ndarray, length: int, start: int, c: np.ndarray) -> None:
    """The anticausal recursion from the last sample back to `start`; the last sample goes on behind the line."""
    d1, d2, d3, d4, m1, m2, m3, m4 = c[4], c[5], c[6], c[7], c[8], c[9], c[10], c[11]
    b1, b2, b3, b4 = c[16], c[17], c[18], c[19]
    last = (length - 1) * LANES
    for j in range(LANES):
        e, x2, x3 = x[last + j], x[last - LANES + j], x[last - 2 * LANES + j]
        s1 = (e * m1 + e * m2 + e * m3 + e * m4) - (e * b1 + e * b2 + e * b3 + e * b4)
        s2 = (e * m1 + e * m2 + e * m3 + e * m4) - (s1 * d1 + e * b2 + e * b3 + e * b4)
        s3 = (x2 * m1 + e * m2 + e * m3 + e * m4) - (s2 * d1 + s1 * d2 + e * b3 + e * b4)
        s4 = (x3 * m1 + x2 * m2 + e * m3 + e * m4) - (s3 * d1 + s2 * d2 + s1 * d3 + e * b4)
        s[last + j], s[last - LANES + j], s[last - 2 * LANES + j], s[last - 3 * LANES + j] = s1, s2, s3, s4
    one, two, three, four = uintp(LANES), uintp(2 * LANES), uintp(3 * LANES), uintp(4 * LANES)
    for i in range(length - 4, start, -1):
        base = uintp((i - 1) * LANES)
        for t in range(base, base + one):
            s[t] = (x[t + one] * m1 + x[t + two] * m2 + x[t + three] * m3 + x[t + four] * m4) - (
                s[t + one] * d1 + s[t + two] * d2 + s[t + three] * d3 + s[t + four] * d4
            )
