"""One ROI, one dictionary of radiomics values: which engine computes what."""

from __future__ import annotations

import numpy as np

from clnm.entities import Reason
from clnm.features.parameters import Parameters
from clnm.features.radiomics import ExtractionError, extract_reference

ENGINES: tuple[str, ...] = ("fast", "pyradiomics")
_IN_MM = ("shape2D_", "log-sigma-", "_TotalEnergy", "gradient_")
"""Columns whose value depends on the pixel spacing: null where the spacing is unknown, never wrong."""
_RATIOS = ("shape2D_Elongation", "shape2D_Sphericity", "shape2D_SphericalDisproportion")
"""Shape without a unit: the same at any spacing of square pixels, and pictures without a spacing have square pixels."""


def extract(
    luminance: np.ndarray,
    mask: np.ndarray,
    spacing_xy_mm: tuple[float, float] | None,
    parameters: Parameters,
    engine: str,
) -> tuple[dict[str, float | None], str]:
    """Radiomics of one ROI, by pyradiomics' column names and in its order.

    Args:
        luminance: (H, W), any real type; computed in float64.
        mask: (H, W) boolean.
        spacing_xy_mm: millimetres per pixel along x and y; None where it is unknown: everything is then computed on a
            grid of 1 pixel, and what millimetres enter (shape, LoG, gradient, total energy) is None.
        parameters: what to compute.
        engine: `fast`: the fast engine where it keeps values equal, the reference for the rest; or `pyradiomics`.

    Returns:
        The values, and what computed them: `fast`, `pyradiomics` or `fast+pyradiomics`.

    Raises:
        ExtractionError: the features cannot be computed.
        ValueError: there is no such engine.
    """
    if engine not in ENGINES:
        raise ValueError(f"no engine {engine!r}; known: {', '.join(ENGINES)}")
    if not np.isfinite(luminance[mask]).all():
        raise ExtractionError(Reason.EXTRACTION_FAILED, "the ROI has values that are not numbers")
    grid = spacing_xy_mm or (1.0, 1.0)
    if engine == "fast":
        found, used = _extract_by_both(luminance, mask, grid, parameters)
    else:
        found, used = extract_reference(luminance, mask, grid, parameters), engine
    values: dict[str, float | None] = dict(found)
    if spacing_xy_mm is None:
        resampled = bool(parameters.settings.get("resampledPixelSpacing"))
        values = {name: None if resampled or _is_in_mm(name) else value for name, value in values.items()}
    return values, used


def _is_in_mm(name: str) -> bool:
    return any(part in name for part in _IN_MM) and not name.endswith(_RATIOS)


def _extract_by_both(
    luminance: np.ndarray, mask: np.ndarray, spacing_xy_mm: tuple[float, float], parameters: Parameters
) -> tuple[dict[str, float], str]:
    """The fast engine's values; the reference's for image types that it does not cover, or not on this ROI."""
    from clnm.features.fast import covers, features_by_image_type

    covered = [name for name in parameters.image_types if covers(parameters, name)]
    shape, by_type = features_by_image_type(luminance, mask, spacing_xy_mm, parameters, covered)
    left = [name for name in parameters.image_types if by_type.get(name) is None]
    if len(left) == len(parameters.image_types):
        return extract_reference(luminance, mask, spacing_xy_mm, parameters), "pyradiomics"
    values = dict(shape)
    for name in parameters.image_types:
        found = by_type.get(name)
        if found is None:
            found = extract_reference(luminance, mask, spacing_xy_mm, parameters, image_types=[name])
        values.update(found)
    return values, "fast+pyradiomics" if left else "fast"
