"""Grey level co-occurrence features from the pair counts. Formulas: pyradiomics 3.0.1, `glcm.py`."""

from __future__ import annotations

import numpy as np

from clnm.features.jit import kernel

EPSILON = np.spacing(1.0)
FEATURES = 24
CORRELATION, IMC1, IMC2, MCC = 5, 13, 14, 19
"""Places of the features that rounding can decide; `degenerate.py` has those cases."""
_RESIDUAL = 1e-12
"""Where Lanczos stops. Two eigenvalues within 2e-6 of each other occur in real images: with 1e-8 it took the lower."""


@kernel
def cooccurrence_features(
    pairs: np.ndarray, gray: np.ndarray, highest: int, symmetric: bool
) -> tuple[np.ndarray, bool]:
    """The 24 features, averaged over the angles that have pairs.

    Args:
        pairs: (4, levels, levels) int32, counts by angle.
        gray: (levels,) float64, grey level of each row.
        highest: the largest grey level.
        symmetric: count each pair in both directions (`symmetricalGLCM`).

    Returns:
        The features in the order of `names.FEATURES`, and whether rounding decides some of them (see `degenerate`).
    """
    many = gray.size
    mean = np.zeros(FEATURES)
    found = np.empty(FEATURES)
    p = np.empty((many, many))
    angles = 0
    degenerate = False
    for angle in range(pairs.shape[0]):
        total = 0.0
        for i in range(many):
            for j in range(many):
                total += pairs[angle, i, j]
        if total == 0.0:
            continue
        if symmetric:
            for i in range(many):
                for j in range(many):
                    p[i, j] = float(pairs[angle, i, j] + pairs[angle, j, i]) / (2.0 * total)
        else:
            for i in range(many):
                for j in range(many):
                    p[i, j] = pairs[angle, i, j] / total
        degenerate |= _one_angle(p, gray, highest, found)
        mean += found
        angles += 1
    return mean / angles, degenerate


@kernel
def _one_angle(p: np.ndarray, gray: np.ndarray, highest: int, found: np.ndarray) -> bool:
    many = gray.size
    px, py = np.zeros(many), np.zeros(many)
    added, apart = np.zeros(2 * highest + 1), np.zeros(highest)
    energy, entropy, product, largest = 0.0, 0.0, 0.0, 0.0
    for i in range(many):
        for j in range(many):
            value = p[i, j]
            if value == 0.0:
                continue
            px[i] += value
            py[j] += value
            added[int(gray[i] + gray[j])] += value
            apart[int(abs(gray[i] - gray[j]))] += value
            energy += value * value
            entropy -= value * np.log2(value + EPSILON)
            product += value * (gray[i] * gray[j])
            largest = max(largest, value)
    ux, uy, mx, my = 0.0, 0.0, 0.0, 0.0
    for i in range(many):
        ux += px[i] * gray[i]
        uy += py[i] * gray[i]
    covariance = 0.0
    for i in range(many):
        mx += px[i] * (gray[i] - ux) ** 2
        my += py[i] * (gray[i] - uy) ** 2
        for j in range(many):
            covariance += p[i, j] * (gray[i] - ux) * (gray[j] - uy)
    deviation = np.sqrt(mx) * np.sqrt(my)
    found[0], found[17], found[18], found[20] = product, energy, entropy, largest
    found[CORRELATION] = covariance / (deviation + EPSILON) if deviation != 0.0 else 1.0
    found[16], found[23] = ux, mx
    _sum_features(added, ux + uy, found)
    _difference_features(apart, highest, found)
    independent = _information(p, px, py, entropy, found)
    degenerate = _maximal_correlation(p, px, py, found)
    return degenerate or independent or 0.0 < deviation < 1e-10


@kernel
def _sum_features(added: np.ndarray, centre: float, found: np.ndarray) -> None:
    prominence, shade, tendency, average, entropy = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(2, added.size):
        value = added[k]
        if value > 0.0:
            off = k - centre
            square = off * off
            tendency += value * square
            shade += value * (square * off)
            prominence += value * (square * square)
            average += value * k
            entropy -= value * np.log2(value + EPSILON)
    found[1], found[2], found[3], found[21], found[22] = prominence, shade, tendency, average, entropy


@kernel
def _difference_features(apart: np.ndarray, highest: int, found: np.ndarray) -> None:
    contrast, average, entropy, variance = 0.0, 0.0, 0.0, 0.0
    inverse, moment, moment_n, inverse_n, inverse_variance = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(apart.size):
        value = apart[k]
        if value > 0.0:
            contrast += value * float(k * k)
            average += value * k
            entropy -= value * np.log2(value + EPSILON)
            inverse += value / (1 + k)
            moment += value / (1 + k * k)
            moment_n += value / (1 + float(k * k) / float(highest * highest))
            inverse_n += value / (1 + k / highest)
            if k > 0:
                inverse_variance += value / float(k * k)
    for k in range(apart.size):
        variance += apart[k] * (k - average) ** 2
    found[4], found[6], found[7], found[8], found[9] = contrast, average, entropy, variance, inverse
    found[10], found[11], found[12], found[15] = moment, moment_n, inverse_n, inverse_variance


@kernel
def _information(p: np.ndarray, px: np.ndarray, py: np.ndarray, entropy: float, found: np.ndarray) -> bool:
    """Imc1 and Imc2; true where rows and columns are so independent that rounding decides Imc2.

    log2(px py + eps) is taken apart into log2 px + log2 py + eps / (px py ln 2): the rest, eps^2, is below rounding.
    """
    many = px.size
    hx, hy, plain, rows, columns = 0.0, 0.0, 0.0, 0, 0
    for i in range(many):
        if px[i] > 0.0:
            hx -= px[i] * np.log2(px[i] + EPSILON)
            plain -= px[i] * np.log2(px[i])
            rows += 1
        if py[i] > 0.0:
            hy -= py[i] * np.log2(py[i] + EPSILON)
            plain -= py[i] * np.log2(py[i])
            columns += 1
    share = 0.0
    for i in range(many):
        for j in range(many):
            if p[i, j] > 0.0:
                share += p[i, j] / (px[i] * py[j])
    hxy1 = plain - EPSILON / np.log(2.0) * share
    hxy2 = plain - EPSILON / np.log(2.0) * rows * columns
    divisor = max(hx, hy)
    if many == 1:
        found[IMC1], found[IMC2] = 0.0, 0.0
        return False
    found[IMC1] = (entropy - hxy1) / divisor if divisor != 0.0 else 0.0
    gain = hxy2 - entropy
    found[IMC2] = np.sqrt(1 - np.exp(-2 * gain)) if gain > 0.0 else 0.0
    return gain < 1e-10


@kernel
def _maximal_correlation(p: np.ndarray, px: np.ndarray, py: np.ndarray, found: np.ndarray) -> bool:
    """MCC: the second singular value of p / sqrt(px py); true where it is too near 0 or 1 to stand rounding.

    pyradiomics takes the second eigenvalue of Q(i, j) = sum_k p(i, k) p(j, k) / (px(i) py(k) + eps), which is similar
    to the square of that matrix but for eps; what eps moves is added to first order.
    """
    many = px.size
    if many == 1:
        found[MCC] = 1.0
        return False
    scaled, turned = np.zeros((many, many)), np.zeros((many, many))
    top, side = np.sqrt(px), np.sqrt(py)
    for i in range(many):
        for j in range(many):
            if p[i, j] > 0.0:
                scaled[i, j] = p[i, j] / (top[i] * side[j])
                turned[j, i] = scaled[i, j]
    value, vector = _leading(scaled, turned, top, side)
    if not 1e-6 < value < 1 - 1e-6:
        found[MCC] = 0.0
        return True
    moved = 0.0
    for k in range(many):
        if py[k] > 0.0:
            plain, weighted = 0.0, 0.0
            for i in range(many):
                if turned[k, i] > 0.0:
                    plain += turned[k, i] * vector[i]
                    weighted += turned[k, i] * vector[i] / px[i]
            moved += plain * weighted / py[k]
    found[MCC] = np.sqrt(value - EPSILON * moved)
    return False


@kernel
def _leading(a: np.ndarray, t: np.ndarray, top: np.ndarray, side: np.ndarray) -> tuple[float, np.ndarray]:
    """Largest eigenvalue and eigenvector of B B^T, B = a - top side^T (the known first pair taken out), by Lanczos.

    `t` is `a` turned: both products run along rows.
    """
    many = top.size
    basis = np.zeros((many, many))
    diagonal, beside = np.zeros(many), np.zeros(many)
    vector, half = np.empty(many), np.empty(many)
    for i in range(many):
        vector[i] = np.sin(12.9898 * (i + 1)) + 0.1 if top[i] > 0.0 else 0.0
    vector /= np.sqrt(_dot(vector, vector))
    for k in range(many):
        for i in range(many):
            basis[k, i] = vector[i]
        _apply(a, side, _dot(top, vector), vector, half)
        _apply(t, top, _dot(side, half), half, vector)
        for j in range(k, -1, -1):
            share = 0.0
            for i in range(many):
                share += basis[j, i] * vector[i]
            if j == k:
                diagonal[k] = share
            for i in range(many):
                vector[i] -= share * basis[j, i]
        norm = np.sqrt(_dot(vector, vector))
        beside[k] = norm
        if norm < 1e-13 or k == many - 1 or (k > 4 and k % 4 == 0):
            value, weights = _largest(diagonal[: k + 1], beside[: k + 1])
            if norm < 1e-13 or k == many - 1 or norm * abs(weights[k]) < _RESIDUAL * value:
                vector[:] = 0.0
                for j in range(k + 1):
                    for i in range(many):
                        vector[i] += weights[j] * basis[j, i]
                return value, vector
        vector /= norm
    return 0.0, vector


@kernel
def _apply(rows: np.ndarray, known: np.ndarray, share: float, x: np.ndarray, y: np.ndarray) -> None:
    """Set y = rows^T x - share known."""
    for i in range(y.size):
        y[i] = -share * known[i]
    for k in range(x.size):
        factor = x[k]
        for i in range(y.size):
            y[i] += factor * rows[k, i]


@kernel
def _dot(x: np.ndarray, y: np.ndarray) -> float:
    total = 0.0
    for i in range(x.size):
        total += x[i] * y[i]
    return total


@kernel
def _largest(diagonal: np.ndarray, beside: np.ndarray) -> tuple[float, np.ndarray]:
    """Largest eigenvalue of a symmetric tridiagonal matrix by bisection (Sturm), and its unit eigenvector."""
    n = diagonal.size
    low, high = diagonal[0], diagonal[0]
    for i in range(n):
        radius = (beside[i - 1] if i > 0 else 0.0) + (beside[i] if i < n - 1 else 0.0)
        high = max(high, diagonal[i] + radius)
        low = max(low, diagonal[i])
    for _ in range(60):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        pivot = diagonal[0] - middle
        below = pivot < 0.0
        for i in range(1, n):
            if not below:
                break
            pivot = diagonal[i] - middle - beside[i - 1] ** 2 / pivot
            below = pivot < 0.0
        if below:
            high = middle
        else:
            low = middle
    weights = np.zeros(n)
    weights[n - 1] = 1.0
    for i in range(n - 1, 0, -1):
        after = beside[i] * weights[i + 1] if i < n - 1 else 0.0
        weights[i - 1] = ((high - diagonal[i]) * weights[i] - after) / beside[i - 1]
    norm = np.sqrt(_dot(weights, weights))
    return high, weights / norm
