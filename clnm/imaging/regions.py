"""Ultrasound regions (DICOM PS3.3 C.8.5.5): the part of the frame that is image, and its millimetres per pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clnm.entities import SpacingSource
from clnm.imaging.refusal import UNTRUSTED

_CENTIMETRES = 3
_TWO_DIMENSIONAL, _TISSUE = 1, 1
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


def whole_frame(rows: int, columns: int) -> Region:
    """The frame itself, of unknown spacing."""
    return Region(0, rows, 0, columns, None, None, SpacingSource.NONE)


def image_region(dataset: Any, rows: int, columns: int) -> Region:
    """The 2-D tissue region to crop to, with its spacing.

    The largest valid region is taken. Regions that reach outside the frame speak of another picture (one that was
    down-sampled): then neither their box nor their spacing is believed. Without a region PixelSpacing counts, else the
    spacing is unknown; it is never 1.0.
    """
    found = [region for item in _items(dataset) if (region := _region(item, rows, columns)) is not None]
    if found:
        return max(found, key=lambda region: (region.bottom - region.top) * (region.right - region.left))
    spacing = _pixel_spacing(dataset)
    if spacing is None:
        return whole_frame(rows, columns)
    return Region(0, rows, 0, columns, spacing[1], spacing[0], SpacingSource.PIXEL_SPACING)


def _items(dataset: Any) -> list[Any]:
    try:
        return list(dataset.get("SequenceOfUltrasoundRegions", None) or [])
    except UNTRUSTED:
        return []


def _region(item: Any, rows: int, columns: int) -> Region | None:
    try:
        if int(item.RegionSpatialFormat) != _TWO_DIMENSIONAL or int(item.RegionDataType) != _TISSUE:
            return None
        left, right = int(item.RegionLocationMinX0), int(item.RegionLocationMaxX1) + 1
        top, bottom = int(item.RegionLocationMinY0), int(item.RegionLocationMaxY1) + 1
        units = (int(item.PhysicalUnitsXDirection), int(item.PhysicalUnitsYDirection))
        dx, dy = abs(float(item.PhysicalDeltaX)), abs(float(item.PhysicalDeltaY))
    except (AttributeError, TypeError, ValueError, KeyError):
        return None
    right, bottom = (
        min(right, columns) if right == columns + 1 else right,
        min(bottom, rows) if bottom == rows + 1 else bottom,
    )
    if not (0 <= left < right <= columns and 0 <= top < bottom <= rows):
        return None
    if units == (_CENTIMETRES, _CENTIMETRES) and dx > 0 and dy > 0:
        return Region(top, bottom, left, right, dx * _MM_PER_CM, dy * _MM_PER_CM, SpacingSource.REGIONS)
    return Region(top, bottom, left, right, None, None, SpacingSource.NONE)


def _pixel_spacing(dataset: Any) -> tuple[float, float] | None:
    """(row, column) spacing in mm."""
    try:
        value = dataset.get("PixelSpacing", None)
        row, column = float(value[0]), float(value[1])
    except UNTRUSTED:
        return None
    return (row, column) if row > 0 and column > 0 else None
