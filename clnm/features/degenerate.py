"""GLCM features where rounding decides the value, computed with the reference's own sums in its own order.

Two grey levels that are (nearly) independent, or parts of the ROI that never touch: there pyradiomics' Correlation,
Imc1, Imc2 and MCC hang on the last bit of a sum or of an eigenvalue (which may turn NaN), so the bits have to be its
own.
"""

from __future__ import annotations

import warnings

import numpy as np

from clnm.features.cooccurrence import CORRELATION, EPSILON, IMC1, IMC2, MCC


def settle(found: np.ndarray, pairs: np.ndarray, gray: np.ndarray, *, symmetric: bool) -> None:
    """Replace Correlation, Imc1, Imc2 and MCC in `found` (24,) by the values pyradiomics' order of operations gives."""
    p = pairs.transpose(1, 2, 0)[None].astype(np.float64)
    if symmetric:
        p += p.transpose(0, 2, 1, 3).copy()
    totals = p.sum((1, 2))
    p = np.ascontiguousarray(np.delete(p, np.flatnonzero(totals[0] == 0), 3))
    p /= np.delete(totals, np.flatnonzero(totals[0] == 0), 1)[:, None, None, :]
    px, py = p.sum(2, keepdims=True), p.sum(1, keepdims=True)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        found[CORRELATION] = _correlation(p, gray)
        found[IMC1], found[IMC2] = _imc1(p, px, py), _imc2(p, px, py)
        found[MCC] = _mcc(p, px, py)


def _correlation(p: np.ndarray, gray: np.ndarray) -> float:
    i, j = gray[None, :, None, None], gray[None, None, :, None]
    ux = np.sum(i * p, (1, 2), keepdims=True)
    uy = np.sum(j * p, (1, 2), keepdims=True)
    sigma_x = np.sum(p * ((i - ux) ** 2), (1, 2), keepdims=True) ** 0.5
    sigma_y = np.sum(p * ((j - uy) ** 2), (1, 2), keepdims=True) ** 0.5
    together = np.sum(p * (i - ux) * (j - uy), (1, 2), keepdims=True)
    correlation = together / (sigma_x * sigma_y + EPSILON)
    correlation[sigma_x * sigma_y == 0] = 1
    return float(np.nanmean(correlation))


def _imc1(p: np.ndarray, px: np.ndarray, py: np.ndarray) -> float:
    hx = (-1) * np.sum(px * np.log2(px + EPSILON), (1, 2))
    hy = (-1) * np.sum(py * np.log2(py + EPSILON), (1, 2))
    hxy = (-1) * np.sum(p * np.log2(p + EPSILON), (1, 2))
    hxy1 = (-1) * np.sum(p * np.log2(px * py + EPSILON), (1, 2))
    divisor = np.fmax(hx, hy)
    imc1 = hxy - hxy1
    imc1[divisor != 0] /= divisor[divisor != 0]
    imc1[divisor == 0] = 0
    return float(np.nanmean(imc1, 1)[0])


def _imc2(p: np.ndarray, px: np.ndarray, py: np.ndarray) -> float:
    hxy = (-1) * np.sum(p * np.log2(p + EPSILON), (1, 2))
    hxy2 = (-1) * np.sum((px * py) * np.log2(px * py + EPSILON), (1, 2))
    imc2 = (1 - np.e ** (-2 * (hxy2 - hxy))) ** 0.5
    imc2[hxy2 == hxy] = 0
    return float(np.nanmean(imc2, 1)[0])


def _mcc(p: np.ndarray, px: np.ndarray, py: np.ndarray) -> float:
    levels = p.shape[1]
    if levels == 1:
        return 1.0
    q = np.zeros((1, levels, levels, p.shape[3]))
    for level in range(levels):
        term = (p[:, :, None, level, :] * p[:, None, :, level, :]) / (
            px[:, :, None, 0, :] * py[:, None, :, level, :] + EPSILON
        )
        q = term if level == 0 else q + term
    eigenvalues = np.linalg.eigvals(q.transpose((0, 3, 1, 2)))
    eigenvalues.sort()
    return float(np.nanmean(np.sqrt(eigenvalues[:, :, -2]), 1).real[0])
