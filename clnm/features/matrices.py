"""All neighbourhood counts of a discretised ROI in one pass: co-occurrence, runs, zones, dependence, tone difference.

The counts are pyradiomics' own (`cmatrices.c`, 3.0.1) at distance 1 in two dimensions. Angles are in its order:
down-right, down, down-left, right.
"""

from __future__ import annotations

import numpy as np

from clnm.features.jit import kernel

ANGLES = 4
NEIGHBOURS = 8


@kernel
def count_neighbours(
    pixels: np.ndarray, ranks: np.ndarray, width: int, grid: np.ndarray, gray: np.ndarray, alpha: int, longest: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Count everything that looks at one pixel and its neighbours.

    Rank 0 is "outside", so that nothing has to be asked about a neighbour before it is counted: what is counted there
    is left out by the readers.

    Args:
        pixels: (n,) uintp, flat positions of the ROI's pixels in `grid`, in row order.
        ranks: (n,) int32, rank of each pixel's grey level, from 1.
        width: columns of `grid`.
        grid: flat int32, 0 outside the ROI, with a border of one pixel; its ROI pixels are overwritten.
        gray: (levels + 1,) float64, the grey level of each rank, 0 for rank 0.
        alpha: largest difference at which a neighbour still depends on a pixel (`gldm_a`).
        longest: the longest run possible.

    Returns:
        pairs (4, levels + 1, levels + 1), runs (4, levels + 1, longest), dependence (levels + 1, 9), difference
        (levels + 1,) summed, parent: for each pixel of `grid` an earlier pixel of the same zone, or itself.
    """
    many = gray.size
    pairs = np.zeros((ANGLES, many, many), np.int32)
    runs = np.zeros((ANGLES, many, longest), np.int32)
    dependence = np.zeros((many, NEIGHBOURS + 1), np.int32)
    difference = np.zeros(many, np.float64)
    length = np.zeros((grid.size, ANGLES), np.int32)
    parent = np.empty(grid.size, np.int32)
    tones = np.zeros(grid.size, np.int32)
    row, one = np.uintp(width), np.uintp(1)
    for k in range(pixels.size):
        grid[pixels[k]] = ranks[k]
        tones[pixels[k]] = int(gray[ranks[k]])
    dependent, total, inside = _look_around(tones, width, alpha)
    for k in range(pixels.size):
        q = pixels[k]
        own = grid[q]
        left, right = grid[q - one], grid[q + one]
        above_left, above, above_right = grid[q - row - one], grid[q - row], grid[q - row + one]
        below_left, below, below_right = grid[q + row - one], grid[q + row], grid[q + row + one]
        pairs[0, own, below_right] += 1
        pairs[1, own, below] += 1
        pairs[2, own, below_left] += 1
        pairs[3, own, right] += 1

        run = (length[q - row - one, 0] + 1) * (above_left == own)
        length[q, 0] = run
        runs[0, own, run] += below_right != own
        run = (length[q - row, 1] + 1) * (above == own)
        length[q, 1] = run
        runs[1, own, run] += below != own
        run = (length[q - row + one, 2] + 1) * (above_right == own)
        length[q, 2] = run
        runs[2, own, run] += below_left != own
        run = (length[q - one, 3] + 1) * (left == own)
        length[q, 3] = run
        runs[3, own, run] += right != own

        dependence[own, dependent[q]] += 1
        if inside[q]:
            difference[own] += abs(gray[own] - float(total[q]) / float(inside[q]))

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


@kernel
def _look_around(tones: np.ndarray, width: int, alpha: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every pixel of the grid: neighbours within `alpha`, sum of the neighbours' tones, neighbours in the ROI."""
    dependent, total, inside = np.zeros_like(tones), np.zeros_like(tones), np.zeros_like(tones)
    w, one = np.uintp(width), np.uintp(1)
    reach = np.int32(alpha)
    for q in range(w + one, np.uintp(tones.size) - w - one):
        own = tones[q]
        a, b, c, d = tones[q - w - one], tones[q - w], tones[q - w + one], tones[q - one]
        e, f, g, h = tones[q + one], tones[q + w - one], tones[q + w], tones[q + w + one]
        total[q] = a + b + c + d + e + f + g + h
        inside[q] = (a > 0) + (b > 0) + (c > 0) + (d > 0) + (e > 0) + (f > 0) + (g > 0) + (h > 0)
        dependent[q] = (
            ((a > 0) & (abs(a - own) <= reach))
            + ((b > 0) & (abs(b - own) <= reach))
            + ((c > 0) & (abs(c - own) <= reach))
            + ((d > 0) & (abs(d - own) <= reach))
            + ((e > 0) & (abs(e - own) <= reach))
            + ((f > 0) & (abs(f - own) <= reach))
            + ((g > 0) & (abs(g - own) <= reach))
            + ((h > 0) & (abs(h - own) <= reach))
        )
    return dependent, total, inside


@kernel
def _root(parent: np.ndarray, q: int) -> int:
    root = int(parent[q])
    while parent[root] != root:
        parent[root] = parent[parent[root]]
        root = int(parent[root])
    return root


@kernel
def _join(parent: np.ndarray, a: int, b: int) -> None:
    a, b = _root(parent, a), _root(parent, b)
    parent[max(a, b)] = min(a, b)


@kernel
def count_zones(pixels: np.ndarray, ranks: np.ndarray, parent: np.ndarray, many: int) -> tuple[np.ndarray, np.ndarray]:
    """Zones by grey level and size: counts (levels + 1, sizes) and the sizes that occur, ascending.

    A parent always lies before its pixel, so one look at the parent's parent, in row order, finds the root.
    """
    area = np.zeros(parent.size, np.int32)
    roots = np.empty(pixels.size, np.int32)
    root_ranks = np.empty(pixels.size, np.int32)
    zones = 0
    for k in range(pixels.size):
        q = pixels[k]
        root = parent[parent[q]]
        parent[q] = root
        area[root] += 1
        roots[zones], root_ranks[zones] = root, ranks[k]
        zones += root == q
    largest = 0
    for zone in range(zones):
        largest = max(largest, area[roots[zone]])
    column = np.zeros(largest + 1, np.int32)
    for zone in range(zones):
        column[area[roots[zone]]] = 1
    kinds = 0
    sizes = np.empty(largest, np.float64)
    for size in range(largest + 1):
        if column[size]:
            column[size] = kinds
            sizes[kinds] = size
            kinds += 1
    counts = np.zeros((many, kinds), np.int32)
    for zone in range(zones):
        counts[root_ranks[zone], column[area[roots[zone]]]] += 1
    return counts, sizes[:kinds]


@kernel
def has_line(pixels: np.ndarray, width: int, angle: int) -> bool:
    """Whether any line along `angle` holds two pixels of the ROI, adjacent or not: else pyradiomics drops the angle."""
    rows = int(pixels[pixels.size - 1]) // width + 1
    seen = np.zeros(rows + 2 * width, np.uint8)
    for k in range(pixels.size):
        row, column = int(pixels[k]) // width, int(pixels[k]) % width
        if angle == 0:
            line = row - column + width
        elif angle == 1:
            line = column
        elif angle == 2:
            line = row + column
        else:
            line = row
        if seen[line]:
            return True
        seen[line] = 1
    return False
