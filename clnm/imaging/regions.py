"""Ultrasound regions (DICOM PS3.3 C.8.5.5): the part of the frame that is image, and its millimetres per pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clnm.entities import SpacingSource
from clnm.imaging.refusal import UNTRUSTED

_CENTIMETRES = 3
_TWO_DIMENSIONAL = 1
_TISSUE, _COLOUR_FLOW = 1, 2
_MM_PER_CM = 10.0


@dataclass(frozen=True, slots=True)
class Region:
    """A box of the frame (pixels, end exclusive) and its spacing."""

    top: int
    bottom: int
    left: int
    right: int
    spacing_x_mm: float | None
    spacing_y_mm: float | None
    source: SpacingSource

    @property
    def area_px(self) -> int:
        """How many pixels it holds."""
        return (self.bottom - self.top) * (self.right - self.left)

    def crop(self, frame: np.ndarray) -> np.ndarray:
        """This part of an (H, W) frame, as a copy that keeps nothing else alive."""
        return frame[self.top : self.bottom, self.left : self.right].copy()

    def share_of(self, mask: np.ndarray) -> float:
        """The share of what an (H, W) mask marks that lies in this region; 0 for an empty one."""
        marked = np.count_nonzero(mask > 0)
        inside = mask[self.top : self.bottom, self.left : self.right]
        return np.count_nonzero(inside > 0) / marked if marked else 0.0


def whole_frame(rows: int, columns: int) -> Region:
    """The frame itself, of unknown spacing."""
    return Region(0, rows, 0, columns, None, None, SpacingSource.NONE)


def image_regions(dataset: Any, rows: int, columns: int) -> tuple[Region, ...]:
    """The 2-D image regions of a frame, the largest first; the whole frame where the header tells none.

    A region that reaches outside the frame speaks of another picture (one that was down-sampled since): neither its box
    nor its spacing is believed. Traces and spectra are no image. Where a region has no spacing, PixelSpacing counts; it
    is never 1.0 for want of anything better.
    """
    spacing = _pixel_spacing(dataset)
    found = [region for item in _items(dataset) if (region := _region(item, rows, columns, spacing)) is not None]
    tissue = [region for kind, region in found if kind == _TISSUE] or [region for _, region in found]
    distinct = list(dict.fromkeys(tissue))
    return tuple(sorted(distinct, key=lambda r: (-r.area_px, r.top, r.left))) or (
        _placed(0, rows, 0, columns, spacing),
    )


def choose_region(regions: Sequence[Region], mask: np.ndarray | None) -> Region:
    """The region that holds all of `mask` (of the whole frame's size); the largest where none does or none is drawn."""
    if mask is not None:
        for region in regions:
            if region.share_of(mask) == 1.0:
                return region
    return regions[0]


def _items(dataset: Any) -> list[Any]:
    try:
        return list(dataset.get("SequenceOfUltrasoundRegions", None) or [])
    except UNTRUSTED:
        return []


def _region(item: Any, rows: int, columns: int, spacing: tuple[float, float] | None) -> tuple[int, Region] | None:
    try:
        kind = int(item.RegionDataType)
        if int(item.RegionSpatialFormat) != _TWO_DIMENSIONAL or kind not in {_TISSUE, _COLOUR_FLOW}:
            return None
        left, right = int(item.RegionLocationMinX0), int(item.RegionLocationMaxX1) + 1
        top, bottom = int(item.RegionLocationMinY0), int(item.RegionLocationMaxY1) + 1
        units = (int(item.get("PhysicalUnitsXDirection", 0)), int(item.get("PhysicalUnitsYDirection", 0)))
        dx, dy = abs(float(item.get("PhysicalDeltaX", 0))), abs(float(item.get("PhysicalDeltaY", 0)))
    except UNTRUSTED:
        return None
    right = columns if right == columns + 1 else right  # some write the last column as its count
    bottom = rows if bottom == rows + 1 else bottom
    if not (0 <= left < right <= columns and 0 <= top < bottom <= rows):
        return None
    if units == (_CENTIMETRES, _CENTIMETRES) and dx > 0 and dy > 0:
        region = Region(top, bottom, left, right, dx * _MM_PER_CM, dy * _MM_PER_CM, SpacingSource.REGIONS)
    else:
        region = _placed(top, bottom, left, right, spacing)
    return kind, region


def _placed(top: int, bottom: int, left: int, right: int, spacing: tuple[float, float] | None) -> Region:
    if spacing is None:
        return Region(top, bottom, left, right, None, None, SpacingSource.NONE)
    return Region(top, bottom, left, right, spacing[1], spacing[0], SpacingSource.PIXEL_SPACING)


def _pixel_spacing(dataset: Any) -> tuple[float, float] | None:
    """(row, column) spacing in mm: between rows first (PS3.3 10.7.1.3)."""
    try:
        value = dataset.get("PixelSpacing", None)
        row, column = float(value[0]), float(value[1])
    except UNTRUSTED:
        return None
    return (row, column) if row > 0 and column > 0 else None
