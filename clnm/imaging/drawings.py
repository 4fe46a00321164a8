"""Drawings in labelme's JSON: polygons, rectangles and circles to a label image.

Of the file only the shapes and the size are read; the copy of the image that it may hold is not looked at.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from clnm.entities import Reason
from clnm.imaging.dicom import MAX_PIXELS
from clnm.imaging.masks import LabelImage
from clnm.imaging.refusal import UNTRUSTED, RefusedError

SUFFIX = ".json"
_MAX_LABELS = 64
_POINTS = {"polygon": 3, "rectangle": 2, "circle": 2}
"""The shapes that have an area, and the points they need at least."""


def read_drawing(content: bytes) -> LabelImage:
    """A labelme file as one layer per word that shapes are labelled with, in the order of the words.

    Raises:
        RefusedError: it is no labelme file, has no size, or a shape without an area.
    """
    try:
        told = json.loads(content)
        shapes, size = told["shapes"], (told["imageHeight"], told["imageWidth"])
        words = sorted({str(shape["label"]) for shape in shapes})
    except UNTRUSTED:
        raise RefusedError(Reason.NOT_AN_IMAGE) from None
    rows, columns = (_length(value) for value in size)
    if rows * columns > MAX_PIXELS or len(words) > _MAX_LABELS:
        raise RefusedError(Reason.TOO_LARGE, f"{rows} x {columns}, {len(words)} labels")
    marked = {word: np.zeros((rows, columns), dtype=bool) for word in words}
    for shape in shapes:
        try:
            kind, points = str(shape.get("shape_type") or "polygon"), _points(shape["points"])
        except UNTRUSTED:
            raise RefusedError(Reason.MASK_UNREADABLE, "points") from None
        if len(points) < _POINTS.get(kind, math.inf):
            raise RefusedError(Reason.MASK_UNREADABLE, f"{len(points)} points without an area")
        marked[str(shape["label"])] |= _area(kind, points, rows, columns)
    return LabelImage(_layers(list(marked.values()), (rows, columns)))


def _layers(areas: list[np.ndarray], shape: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """The areas as 1, 2, …, in one layer unless they overlap."""
    layers = [np.zeros(shape, dtype=np.int32)]
    for number, area in enumerate(areas, start=1):
        free = [layer for layer in layers if not layer[area].any()]
        if not free:
            layers.append(np.zeros(shape, dtype=np.int32))
        (free or layers[-1:])[0][area] = number
    return tuple(layers)


def _area(kind: str, points: list[tuple[float, float]], rows: int, columns: int) -> np.ndarray:
    """What labelme itself exports as a mask: the shape and its outline, drawn by pillow."""
    from PIL import Image, ImageDraw

    picture = Image.new("1", (columns, rows))
    draw = ImageDraw.Draw(picture)
    if kind == "polygon":
        draw.polygon(points, outline=1, fill=1)
    elif kind == "rectangle":
        (left, top), (right, bottom) = points[0], points[1]
        draw.rectangle([min(left, right), min(top, bottom), max(left, right), max(top, bottom)], outline=1, fill=1)
    else:
        (x, y), (edge_x, edge_y) = points[0], points[1]
        radius = math.hypot(edge_x - x, edge_y - y)
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], outline=1, fill=1)
    return np.asarray(picture).astype(bool)


def _points(told: Any) -> list[tuple[float, float]]:
    points = [(float(x), float(y)) for x, y in told]
    if not np.isfinite(points).all() or np.abs(points).max(initial=0) > MAX_PIXELS:
        raise ValueError("not finite")
    return points


def _length(value: Any) -> int:
    if not isinstance(value, int) or value <= 0:
        raise RefusedError(Reason.MASK_UNREADABLE, "no size")
    return value
