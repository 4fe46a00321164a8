"""When the fast engine agrees with pyradiomics, and what the two are compared on."""

from pathlib import Path

import numpy as np
from scipy import ndimage

from clnm.features.names import FEATURES
from clnm.features.parameters import Parameters

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
ALL_TYPES = {
    "Original": {},
    "LoG": {"sigma": [1.0, 2.0, 3.0, 4.0, 5.0]},
    "Wavelet": {},
    "Square": {},
    "SquareRoot": {},
    "Logarithm": {},
    "Exponential": {},
    "Gradient": {},
    "LBP2D": {},
}
LIMIT, LOOSE_LIMIT = 1e-9, 1e-7
LOOSE = ("glcm_MCC", "glcm_Imc1", "glcm_Imc2")
"""What passes through eigenvalues and cancellation."""


def parameters(image_types=None, **settings):
    return Parameters(image_types or ALL_TYPES, dict.fromkeys(("shape2D", *(set(FEATURES) - {"shape2D"}))), settings)


def ordered_parameters(image_types=None, **settings):
    return Parameters(image_types or ALL_TYPES, dict.fromkeys(FEATURES), settings)


def disagreements(rows, scales=None):
    """Features of (reference, fast) pairs further apart than the limit times the larger of |b| and its scale.

    The scale of a feature is its median |b| over these pairs, unless `scales` names another.
    """
    scales, found = scales or median_sizes(rows), []
    for name in rows[0][0]:
        b = np.array([reference[name] for reference, _ in rows])
        a = np.array([fast[name] for _, fast in rows])
        limit = (LOOSE_LIMIT if name.endswith(LOOSE) else LIMIT) * np.fmax(np.abs(b), scales[name])
        apart = np.abs(a - b)
        wrong = (np.isnan(a) != np.isnan(b)) | (apart > limit)
        found.extend((name, float(a[k]), float(b[k])) for k in np.flatnonzero(wrong & (a != b)))
    return found


def median_sizes(rows):
    """The median |b| of each feature over (reference, fast) pairs; 0 where none is a number."""
    sizes = {name: np.abs([reference[name] for reference, _ in rows]) for name in rows[0][0]}
    return {name: 0.0 if np.isnan(size).all() else float(np.nanmedian(size)) for name, size in sizes.items()}


def speckle(seed, shape=(300, 400)):
    """A make-believe 8-bit ultrasound image: log-compressed speckle on slow shading."""
    rng = np.random.default_rng(seed)
    first, second = (ndimage.gaussian_filter(rng.normal(size=shape), 1.5) for _ in range(2))
    envelope = np.hypot(first, second)
    shading = ndimage.gaussian_filter(rng.normal(size=shape), 20) * 400
    return np.clip(np.round(60 * np.log1p(3 * envelope / envelope.mean()) + shading), 0, 255)


def blob(area, seed, shape=(300, 400), center=(0.45, 0.55)):
    """A lobed ROI of about `area` pixels."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    y, x = y - shape[0] * center[0], x - shape[1] * center[1]
    angle = np.arctan2(y, x)
    radius = np.sqrt(area / np.pi) * (1 + 0.15 * np.sin(3 * angle + seed) + 0.07 * np.sin(7 * angle))
    return np.hypot(y, x) < radius


def twelve_shapes():
    """Twelve ROIs: small to large, in a corner, at the border, with a hole, in parts, thin, ragged; with spacings."""
    shape = (300, 400)
    rng = np.random.default_rng(7)
    hole = blob(5000, 3) & ~blob(800, 4)
    parts = blob(600, 5, center=(0.2, 0.2)) | blob(900, 6, center=(0.7, 0.3)) | blob(300, 7, center=(0.5, 0.8))
    ragged = blob(3000, 8) & (rng.random(shape) > 0.3)
    corner, border, thin, tiny = (np.zeros(shape, bool) for _ in range(4))
    corner[:40, :50] = True
    border[100:160, 350:] = True
    thin[150:152, 60:300] = True
    tiny[200:203, 120:122] = True
    diagonal = np.zeros(shape, bool)
    diagonal[range(50, 150), range(80, 180)] = True
    masks = [blob(300, 0), blob(2000, 1), blob(10000, 2), blob(35000, 9), hole, parts, ragged, corner, border, thin]
    spacings = [(0.1, 0.1), (0.07, 0.12)]
    return [(speckle(seed, shape), mask, spacings[seed % 2]) for seed, mask in enumerate([*masks, tiny, diagonal])]
