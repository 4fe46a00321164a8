"""All neighbourhood counts of a discretised ROI in one pass: co-occurrence, runs, zones, dependence, tone difference.

The counts are pyradiomics' own (`cmatrices.c`, 3.0.1) at distance 1 in two dimensions. Angles are in its order:
down-right, down, down-left, right.
"""

from __future__ import annotations

import numpy as np
from numba import njit

ANGLES = 4
NEIGHBOURS = 8


@njit(cache=True, nogil=True)
def count_neighbours(pixels, levels, width, grid, gray, alpha, longest):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Count everything that looks at one pixel and its neighbours.

    Args:
        pixels: (n,) uintp, flat positions of the ROI's pixels in `grid`, in row order.
        levels: (n,) int32, rank of each pixel's grey level.
        width: columns of `grid`.
        grid: flat int32, -1 outside the ROI, with a border of one pixel; its ROI pixels are overwritten.
        gray: (levels,) float64, the grey level of each rank.
        alpha: largest difference at which a neighbour still depends on a pixel (`gldm_a`).
        longest: the longest run possible.

    Returns:
        pairs (4, levels, levels), runs (4, levels, longest), dependence (levels, 9), difference (levels,) summed,
        parent: for each pixel of `grid` a pixel of the same zone, itself for one pixel of each zone.
    """
    many = gray.size
    pairs = np.zeros((ANGLES, many, many), np.int32)
    runs = np.zeros((ANGLES, many, longest), np.int32)
    dependence = np.zeros((many, NEIGHBOURS + 1), np.int32)
    difference = np.zeros(many, np.float64)
    length = np.empty((ANGLES, grid.size), np.int32)
    parent = np.empty(grid.size, np.int32)
    row = np.uintp(width)
    one = np.uintp(1)
    for k in range(pixels.size):
        grid[pixels[k]] = levels[k]
    for k in range(pixels.size):
        q = pixels[k]
        own = grid[q]
        left, right = grid[q - one], grid[q + one]
        above_left, above, above_right = grid[q - row - one], grid[q - row], grid[q - row + one]
        below_left, below, below_right = grid[q + row - one], grid[q + row], grid[q + row + one]
        if below_right >= 0:
            pairs[0, own, below_right] += 1
        if below >= 0:
            pairs[1, own, below] += 1
        if below_left >= 0:
            pairs[2, own, below_left] += 1
        if right >= 0:
            pairs[3, own, right] += 1

        run = length[0, q - row - one] + 1 if above_left == own else 0
        length[0, q] = run
        if below_right != own:
            runs[0, own, run] += 1
        run = length[1, q - row] + 1 if above == own else 0
        length[1, q] = run
        if below != own:
            runs[1, own, run] += 1
        run = length[2, q - row + one] + 1 if above_right == own else 0
        length[2, q] = run
        if below_left != own:
            runs[2, own, run] += 1
        run = length[3, q - one] + 1 if left == own else 0
        length[3, q] = run
        if right != own:
            runs[3, own, run] += 1

        centre = gray[own]
        dependent, inside, total = 0, 0, 0.0
        for other in (below_right, below, below_left, right, left, above_right, above, above_left):
            if other >= 0:
                inside += 1
                total += gray[other]
                dependent += abs(gray[other] - centre) <= alpha
        dependence[own, dependent] += 1
        if inside:
            difference[own] += abs(centre - total / inside)

        # above touches its neighbours above_left and above_right, above_left touches left: they are joined already
        parent[q] = q
        if above == own:
            parent[q] = _root(parent, q - row)
        elif above_right == own:
            parent[q] = _root(parent, q - row + one)
            if above_left == own:
                _join(parent, q, q - row - one)
            elif left == own:
                _join(parent, q, q - one)
        elif above_left == own:
            parent[q] = _root(parent, q - row - one)
        elif left == own:
            parent[q] = _root(parent, q - one)
    return pairs, runs, dependence, difference, parent


@njit(cache=True, nogil=True)
def _root(parent, q):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    while parent[q] != q:
        parent[q] = parent[parent[q]]
        q = np.uintp(parent[q])
    return q


@njit(cache=True, nogil=True)
def _join(parent, a, b):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    a, b = _root(parent, a), _root(parent, b)
    parent[max(a, b)] = min(a, b)


@njit(cache=True, nogil=True)
def count_zones(pixels, levels, parent, many):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Zones by grey level and size: counts (levels, sizes) and the sizes that occur, ascending."""
    area = np.zeros(parent.size, np.int32)
    zones = 0
    largest = 0
    for k in range(pixels.size):
        root = _root(parent, pixels[k])
        area[root] += 1
        zones += root == pixels[k]
        largest = max(largest, area[root])
    found = np.zeros(largest + 1, np.int32)
    for k in range(pixels.size):
        if parent[pixels[k]] == pixels[k]:
            found[area[pixels[k]]] = 1
    kinds = 0
    for size in range(largest + 1):
        if found[size]:
            found[size] = kinds
            kinds += 1
    sizes = np.empty(kinds, np.float64)
    counts = np.zeros((many, kinds), np.int32)
    for k in range(pixels.size):
        q = pixels[k]
        if parent[q] == q:
            kind = found[area[q]]
            sizes[kind] = area[q]
            counts[levels[k], kind] += 1
    return counts, sizes


@njit(cache=True, nogil=True)
def has_line(pixels, width, angle):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Whether any line along `angle` holds two pixels of the ROI, adjacent or not: else pyradiomics drops the angle."""
    rows = int(pixels[pixels.size - 1]) // width + 1
    seen = np.zeros(rows + 2 * width, np.uint8)
    for k in range(pixels.size):
        row, column = int(pixels[k]) // width, int(pixels[k]) % width
        if angle == 0:
            line = row - column + width
        elif angle == 1:
            line = column
        elif angle == 2:  # noqa: PLR2004
            line = row + column
        else:
            line = row
        if seen[line]:
            return True
        seen[line] = 1
    return False
