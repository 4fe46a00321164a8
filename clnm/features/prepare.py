"""What pyradiomics does to image and mask before any filter: normalise, resample, crop. Done by pyradiomics itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

Prepared = tuple[np.ndarray, np.ndarray, tuple[float, float]]

STEPS: tuple[str, ...] = ("normalize", "resampledPixelSpacing", "preCrop")
"""The settings that ask for such a step."""


def prepare(
    luminance: np.ndarray, mask: np.ndarray, spacing_xy_mm: tuple[float, float], settings: Mapping[str, Any]
) -> Prepared | None:
    """Image, mask and spacing as the filters see them: the ones given where no step is asked for.

    Returns:
        (H, W) luminance, (H, W) boolean mask, spacing; None where pyradiomics refuses: it has to say why itself.
    """
    if not any(settings.get(step) for step in STEPS):
        return luminance, mask, spacing_xy_mm
    import radiomics
    import SimpleITK
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    radiomics.setVerbosity(logging.CRITICAL)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(luminance, dtype=np.float64))
    label = SimpleITK.GetImageFromArray(np.ascontiguousarray(mask, dtype=np.uint8))
    for picture in (image, label):
        picture.SetSpacing([float(value) for value in spacing_xy_mm])
    try:
        image, label = RadiomicsFeatureExtractor.loadImage(image, label, None, **{**settings, "label": 1})
    except (ValueError, RuntimeError, AssertionError):
        return None
    spacing_x, spacing_y = image.GetSpacing()
    return SimpleITK.GetArrayFromImage(image), SimpleITK.GetArrayFromImage(label) == 1, (spacing_x, spacing_y)
