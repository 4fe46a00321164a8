"""The nine shape2D features of a mask. Formulas and mesh: pyradiomics 3.0.1, `shape2D.py` and `cshape.c`."""

from __future__ import annotations

import numpy as np

from clnm.features.jit import kernel

_THIN = 1e-5
"""Below this ratio of the two axes' variances rounding shows in the minor axis: then the reference's own sums."""


def shape_features(mask: np.ndarray, spacing_xy_mm: tuple[float, float]) -> np.ndarray:
    """The features in the order of `names.FEATURES["shape2D"]`, in millimetres.

    Args:
        mask: (h, w) boolean, cut to the ROI's box.
        spacing_xy_mm: millimetres per pixel along x and y.

    Returns:
        (9,) float64; the axis features are NaN where pyradiomics gives NaN.
    """
    spacing_y, spacing_x = float(spacing_xy_mm[1]), float(spacing_xy_mm[0])
    padded = np.pad(mask, 1).astype(np.uint8)
    perimeter, surface, corners = _mesh(padded, spacing_y, spacing_x)
    points = _hull(corners)
    points = points * 0.5 * np.array([spacing_y, spacing_x])
    apart = points[:, None, :] - points[None, :, :]
    diameter = np.sqrt(np.max(apart[..., 0] ** 2 + apart[..., 1] ** 2))
    minor, major = _variances(padded, spacing_y, spacing_x)
    with np.errstate(invalid="ignore"):
        axes = (
            np.sqrt(minor / major) if minor >= 0 and major >= 0 else np.nan,
            np.sqrt(major) * 4,
            np.sqrt(minor) * 4,
        )
    pixels = int(padded.sum())
    return np.array([
        axes[0], axes[1], diameter, surface, axes[2], perimeter, perimeter / surface, pixels * (spacing_x * spacing_y),
        2 * np.sqrt(np.pi * surface) / perimeter,
    ])  # fmt: skip


def _variances(padded: np.ndarray, spacing_y: float, spacing_x: float) -> tuple[float, float]:
    """The smaller and larger eigenvalue of the covariance of the pixels' positions."""
    count, y, x, yy, xy, xx = _integer_moments(padded)
    a = (yy / count - (y / count) ** 2) * spacing_y**2
    c = (xx / count - (x / count) ** 2) * spacing_x**2
    b = (xy / count - (y / count) * (x / count)) * (spacing_y * spacing_x)
    half, apart = (a + c) / 2, np.hypot((a - c) / 2, b)
    if half - apart > _THIN * half:
        return half - apart, half + apart
    coordinates = np.argwhere(padded) * np.array([[spacing_y, spacing_x]])
    coordinates -= np.mean(coordinates, axis=0)
    coordinates /= np.sqrt(len(coordinates))
    eigenvalues = np.linalg.eigvals(np.dot(coordinates.T.copy(), coordinates))
    eigenvalues[(eigenvalues < 0) & (eigenvalues > -1e-10)] = 0
    eigenvalues.sort()
    return float(eigenvalues[0]), float(eigenvalues[1])


@kernel
def _integer_moments(padded: np.ndarray) -> tuple[int, int, int, int, int, int]:
    """Exact sums of 1, y, x, yy, xy, xx about the middle of the box, so that little cancels."""
    height, width = padded.shape
    count, y, x, yy, xy, xx = 0, 0, 0, 0, 0, 0
    for r in range(height):
        for c in range(width):
            if padded[r, c]:
                v, u = r - height // 2, c - width // 2
                count += 1
                y += v
                x += u
                yy += v * v
                xy += u * v
                xx += u * u
    return count, y, x, yy, xy, xx


@kernel
def _mesh(padded: np.ndarray, spacing_y: float, spacing_x: float) -> tuple[float, float, np.ndarray]:
    """Marching squares: perimeter, surface, and the mesh's corners in half pixels, by row and then column.

    Edges of a square are 0 top, 1 right, 2 bottom, 3 left. Each crossed edge belongs to the square whose bottom or left
    edge it is, so that no corner comes twice.
    """
    height, width = padded.shape
    ends = np.array([[0, 1], [1, 2], [2, 1], [1, 0]])
    lines = np.array([
        [-1, -1, -1, -1], [3, 0, -1, -1], [0, 1, -1, -1], [3, 1, -1, -1], [1, 2, -1, -1], [1, 2, 3, 0],
        [0, 2, -1, -1], [3, 2, -1, -1], [2, 3, -1, -1], [2, 0, -1, -1], [0, 1, 2, 3], [2, 1, -1, -1],
        [1, 3, -1, -1], [1, 0, -1, -1], [0, 3, -1, -1], [-1, -1, -1, -1],
    ])  # fmt: skip
    corners = np.empty((2 * (height - 1) * (width - 1), 2), np.int64)
    found = 0
    perimeter, surface = 0.0, 0.0
    for r in range(height - 1):
        for c in range(width - 1):
            square = padded[r, c] + 2 * padded[r, c + 1] + 4 * padded[r + 1, c + 1] + 8 * padded[r + 1, c]
            if square in (0, 15):
                continue
            for t in (0, 2):
                if lines[square, t] < 0:
                    break
                start, stop = ends[lines[square, t]], ends[lines[square, t + 1]]
                y0, x0 = (r + 0.5 * start[0]) * spacing_y, (c + 0.5 * start[1]) * spacing_x
                y1, x1 = (r + 0.5 * stop[0]) * spacing_y, (c + 0.5 * stop[1]) * spacing_x
                surface += y0 * x1 - y1 * x0
                perimeter += np.sqrt((y0 - y1) ** 2 + (x0 - x1) ** 2)
            if padded[r, c] != padded[r + 1, c]:
                corners[found, 0], corners[found, 1] = 2 * r + 1, 2 * c
                found += 1
            if padded[r + 1, c] != padded[r + 1, c + 1]:
                corners[found, 0], corners[found, 1] = 2 * r + 2, 2 * c + 1
                found += 1
    return perimeter, surface / 2, corners[:found]


@kernel
def _hull(corners: np.ndarray) -> np.ndarray:
    """The convex hull of integer points: the two furthest apart are among its corners.

    Only the first and last point of each row and the chains over them (A. M. Andrew, 1979) matter.
    """
    lowest, highest = corners[:, 0].min(), corners[:, 0].max()
    rows = highest - lowest + 1
    least = np.full(rows, np.iinfo(np.int64).max)
    most = np.full(rows, np.iinfo(np.int64).min)
    for k in range(corners.shape[0]):
        row = corners[k, 0] - lowest
        least[row] = min(least[row], corners[k, 1])
        most[row] = max(most[row], corners[k, 1])
    kept = np.empty((2 * rows, 2))
    total = 0
    for side in (-1, 1):
        first = total
        for row in range(rows):
            if least[row] > most[row]:
                continue
            x = least[row] if side < 0 else most[row]
            y = row + lowest
            while total - first >= 2:
                y1, x1 = kept[total - 2, 0], kept[total - 2, 1]
                y2, x2 = kept[total - 1, 0], kept[total - 1, 1]
                if side * ((x2 - x1) * (y - y1) - (x - x1) * (y2 - y1)) > 0:
                    break
                total -= 1
            kept[total, 0], kept[total, 1] = y, x
            total += 1
    return kept[:total]
