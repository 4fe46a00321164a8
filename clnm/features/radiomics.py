"""The reference engine: pyradiomics itself, on true two-dimensional float64 images.

A `(1, H, W)` stack would silently lose LoG, and 8-bit pixels silently give wrong values: neither is ever made here.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from clnm.entities import Reason
from clnm.features.parameters import Parameters

_PREFIXES = {"LBP2D": "lbp-2D", "LBP3D": "lbp-3D"}
"""Image types whose columns do not start with the type's own name in lower case."""


class ExtractionError(ValueError):
    """One ROI's features cannot be computed; `reason` goes into quarantine."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


def extract_reference(
    luminance: np.ndarray,
    mask: np.ndarray,
    spacing_xy_mm: tuple[float, float],
    parameters: Parameters,
    *,
    image_types: Iterable[str] | None = None,
) -> dict[str, float]:
    """The features of one ROI by pyradiomics.

    Args:
        luminance: (H, W), any real type; computed in float64.
        mask: (H, W) boolean.
        spacing_xy_mm: millimetres per pixel along x and y.
        parameters: what to compute.
        image_types: only these, of the parameters' image types.

    Returns:
        Value by pyradiomics' own column name, in its order, without diagnostics.

    Raises:
        ExtractionError: pyradiomics refuses the ROI, or an image type yields no feature.
    """
    import SimpleITK

    wanted = [name for name in parameters.image_types if image_types is None or name in set(image_types)]
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(luminance, dtype=np.float64))
    label = SimpleITK.GetImageFromArray(np.ascontiguousarray(mask, dtype=np.uint8))
    for picture in (image, label):
        picture.SetSpacing([float(value) for value in spacing_xy_mm])
    extractor = _extractor(parameters, tuple(wanted))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-image warns of LBP on floats, which is what pyradiomics asks for
            found = extractor.execute(image, label, label=1)
    except (ValueError, TypeError, AssertionError, RuntimeError, IndexError, ZeroDivisionError) as error:
        raise ExtractionError(_reason(mask), f"pyradiomics refuses the ROI ({type(error).__name__})") from error
    values = {name: float(value) for name, value in found.items() if not name.startswith("diagnostics_")}
    _demand_every_type(values, wanted, parameters)
    return values


def _reason(mask: np.ndarray) -> Reason:
    return Reason.ROI_TOO_SMALL if int(mask.sum()) < 2 else Reason.EXTRACTION_FAILED


def _demand_every_type(values: dict[str, float], wanted: list[str], parameters: Parameters) -> None:
    if set(parameters.feature_classes) <= {"shape2D", "shape"}:
        return
    there = {name.split("_", 1)[0] for name in values}
    for image_type in wanted:
        prefix = _PREFIXES.get(image_type, image_type.lower())
        if not any(name == prefix or name.startswith(f"{prefix}-") for name in there):
            raise ExtractionError(Reason.EXTRACTION_FAILED, f"image type {image_type} yields no feature")


def _extractor(parameters: Parameters, image_types: tuple[str, ...]) -> Any:
    """A silent extractor without provenance, which costs a third of the time and is not kept."""
    import radiomics
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    radiomics.setVerbosity(logging.CRITICAL)
    logging.getLogger("radiomics").setLevel(logging.CRITICAL)
    extractor = RadiomicsFeatureExtractor(**{**dict(parameters.settings), "additionalInfo": False, "label": 1})
    extractor.disableAllImageTypes()
    for name in image_types:
        extractor.enableImageTypeByName(name, customArgs=dict(parameters.image_types[name]))
    extractor.disableAllFeatures()
    for name, features in parameters.feature_classes.items():
        if features is None:
            extractor.enableFeatureClassByName(name)
        else:
            extractor.enableFeaturesByName(**{name: list(features)})
    return extractor
