"""One ROI, one dictionary of radiomics values: which engine computes what."""

from __future__ import annotations

import numpy as np

from clnm.features.parameters import Parameters
from clnm.features.radiomics import extract_reference

_NEEDS_MM = ("shape2D_", "log-sigma-")
"""Columns that speak in millimetres: null where the spacing is unknown, never wrong."""


def extract(
    luminance: np.ndarray,
    mask: np.ndarray,
    spacing_xy_mm: tuple[float, float] | None,
    parameters: Parameters,
    engine: str,
) -> tuple[dict[str, float | None], str]:
    """Radiomics of one ROI and the engine that computed them (`fast`, `pyradiomics` or `fast+pyradiomics`).

    Without spacing everything is computed on a grid of 1 pixel, and what is defined in millimetres is None.

    Raises:
        ExtractionError: the features cannot be computed.
    """
    del engine  # the fast engine is not there yet: the reference serves both
    grid = spacing_xy_mm or (1.0, 1.0)
    values: dict[str, float | None] = dict(extract_reference(luminance, mask, grid, parameters))
    if spacing_xy_mm is None:
        values = {name: None if any(part in name for part in _NEEDS_MM) else value for name, value in values.items()}
    return values, "pyradiomics"
