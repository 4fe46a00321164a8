"""Grey levels of an ROI: pyradiomics' bin edges, and which bin each pixel falls into."""

from __future__ import annotations

import numpy as np

from clnm.features.jit import kernel


def bin_edges(lowest: np.floating, highest: np.floating, *, bin_width: float, bin_count: int | None) -> np.ndarray:
    """The edges pyradiomics would use (`imageoperations.getBinEdges`), in the precision of the two values.

    Args:
        lowest: the smallest value in the ROI, float32 or float64 as its image is.
        highest: the largest.
        bin_width: width of the bins, which are aligned to 0; used where `bin_count` is None.
        bin_count: number of equal bins between the two values.

    Raises:
        ValueError: the range is too narrow to be cut into `bin_count` bins.
    """
    if bin_count is not None:
        if lowest == highest:
            lowest, highest = lowest - 0.5, highest + 0.5
        edges = np.linspace(lowest, highest, bin_count + 1, dtype=lowest.dtype)  # what numpy.histogram does
        if np.any(edges[:-1] >= edges[1:]):
            raise ValueError(f"too narrow a range for {bin_count} bins")
        edges[-1] += 1  # so that the maximum falls into the last bin
        return edges
    start = lowest - (lowest % bin_width)
    return np.arange(start, highest + 2 * bin_width, bin_width)


@kernel
def assign_levels(values: np.ndarray, edges: np.ndarray, levels: np.ndarray) -> None:
    """`numpy.digitize(values, edges)` for (nearly) equal bins: a guess, mended by comparing with the edges."""
    last = edges.size - 1
    start = edges[0]
    scale = 1.0 / (edges[1] - start)
    for k in range(values.size):
        value = values[k]
        level = min(max(int((value - start) * scale), 0), last)
        while level < last and value >= edges[level + 1]:
            level += 1
        while level > 0 and value < edges[level]:
            level -= 1
        levels[k] = level + 1


@kernel
def compress_levels(levels: np.ndarray, highest: int) -> tuple[np.ndarray, np.ndarray]:
    """Replace `levels` (1 to `highest`) by ranks from 1 among those present; rank 0 is kept for "outside".

    Returns:
        The grey level of each rank as float64, 0 for rank 0, and how many pixels have it.
    """
    counts = np.zeros(highest + 1, np.int64)
    for k in range(levels.size):
        counts[levels[k]] += 1
    rank = np.zeros(highest + 1, np.int32)
    ranks = 1
    for level in range(1, highest + 1):
        if counts[level] > 0:
            rank[level] = ranks
            ranks += 1
    gray = np.zeros(ranks, np.float64)
    pixels = np.zeros(ranks, np.float64)
    for level in range(1, highest + 1):
        if counts[level] > 0:
            gray[rank[level]] = level
            pixels[rank[level]] = counts[level]
    for k in range(levels.size):
        levels[k] = rank[levels[k]]
    return gray, pixels
