"""Which parameters the fast engine keeps value-equal to pyradiomics. Allow-lists: what is not named is not covered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from clnm.features.names import FEATURES, PREFIXES

_WITHOUT_EFFECT = frozenset({
    "additionalInfo", "correctMask", "force2Ddimension", "geometryTolerance", "initValue", "interpolator",
    "kernelRadius", "label", "label_channel", "maskedKernel", "minimumROISize", "normalize", "normalizeScale",
    "padDistance", "preCrop", "removeOutliers", "resampledPixelSpacing", "resegmentMode", "resegmentShape",
    "voxelArrayShift", "voxelBatch",
})  # fmt: skip
"""Settings that change nothing while those of `_OFF` are off, or that are followed (`prepare.py` has the first)."""
_OFF = ("force2D", "resegmentRange", "voxelBased", "weightingNorm")
"""Settings that have to be unset, false or null."""
_IMAGE_OPTIONS: dict[str, frozenset[str]] = {
    "LoG": frozenset({"sigma"}),
    "Wavelet": frozenset({"wavelet", "level", "start_level"}),
    "Gradient": frozenset({"gradientUseSpacing"}),
    "LBP2D": frozenset({"lbp2DRadius", "lbp2DSamples", "lbp2DMethod"}),
}
_ALL_IMAGE_OPTIONS = frozenset().union(*_IMAGE_OPTIONS.values())


def covers_classes(classes: Mapping[str, tuple[str, ...] | None]) -> bool:
    """Whether every feature asked for is known; three-dimensional shape yields nothing in two dimensions."""
    return all(
        name == "shape" or (name in FEATURES and set(features or ()) <= set(FEATURES[name]))
        for name, features in classes.items()
    )


def covers_settings(options: Mapping[str, Any]) -> bool:
    """Whether discretisation, distances, weights and the steps before filtering are such that values stay equal."""
    for name, value in options.items():
        if name in _WITHOUT_EFFECT or name in _ALL_IMAGE_OPTIONS or (name in _OFF and not value):
            continue
        if name not in _VALID or not _VALID[name](value):
            return False
    return True


def covers_image_type(image_type: str, options: Mapping[str, Any]) -> bool:
    """Whether the filter is one of ours, with options it follows."""
    if image_type not in PREFIXES:
        return False
    if image_type == "Wavelet":
        return bool(options.get("level", 1) == 1 and options.get("start_level", 0) == 0)
    if image_type == "LBP2D":
        return options.get("lbp2DMethod", "uniform") == "uniform" and options.get("lbp2DSamples", 8) >= 1
    return True


def _is_number_above_zero(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0


_VALID: dict[str, Callable[[Any], bool]] = {
    "binWidth": _is_number_above_zero,
    "binCount": lambda value: value is None or (isinstance(value, int) and value > 0),
    "distances": lambda value: list(value) == [1],
    "minimumROIDimensions": lambda value: value in {1, 2},
    "gldm_a": lambda value: isinstance(value, int) and value >= 0,
    "symmetricalGLCM": lambda value: isinstance(value, bool),
}
