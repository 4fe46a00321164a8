"""Masks as NRRD files on the grid of the whole frame, values 0 and 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clnm.simulate.scanners import Scanner


def full_frame(mask: NDArray[np.bool_], scanner: Scanner) -> NDArray[np.bool_]:
    """The region's mask put where the region lies in the frame, shape `frame_px`."""
    frame = np.zeros(scanner.frame_px, dtype=bool)
    top, left = scanner.origin_px
    frame[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return frame


def write_mask_file(path: Path, mask: NDArray[np.bool_], spacing_mm: float) -> None:
    """Write a (rows, columns) mask as compressed NRRD with its pixel size."""
    import SimpleITK as sitk  # noqa: N813 - the name everybody knows it by

    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing((spacing_mm, spacing_mm))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path), useCompression=True)
