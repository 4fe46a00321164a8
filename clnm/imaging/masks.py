"""Masks: read NRRD, NIfTI, MetaImage and pictures as label images, and fit them to the image they belong to.

A mask is laid on its image by index, never resampled: the geometry that writers give ultrasound is mostly invented.
Only a segmentation that was cropped when it was saved (3D Slicer's `.seg.nrrd`) is placed by its origin.
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clnm.entities import Reason
from clnm.imaging.decode import luminance_of_color
from clnm.imaging.dicom import MAX_PIXELS
from clnm.imaging.pictures import SUFFIXES
from clnm.imaging.refusal import UNTRUSTED, RefusedError
from clnm.imaging.regions import Region

VOLUMES = (".seg.nrrd", ".nrrd", ".nii", ".nii.gz", ".mha")
MAX_COVER = 0.95
"""A mask over more of the image than this marks the image, not a lesion."""
MIN_INSIDE = 0.99
"""Less of a mask than this inside the ultrasound region: it was drawn on something else."""
LAYER_STEP = 256
"""Overlapping segments lie in layers; the labels of layer k are counted on from 256 k."""
_MAX_LABELS = 8
"""More different values than this is a grey picture of a mask, not a label image."""
_MAX_COLORS = 256
_MAX_SEGMENTS = 64
"""More different labels than this in a volume: it is the image itself that somebody saved beside its mask."""
_DETACHED = re.compile(rb"^\s*(data ?file\s*:|ElementDataFile\s*=(?!\s*LOCAL\s*$))", re.IGNORECASE | re.MULTILINE)
"""A header whose pixels are in another file, anywhere on the disk."""


@dataclass(frozen=True, slots=True)
class LabelImage:
    """One or more layers of labels, each (H, W) integer; `offset_px` (row, column) where it is a cropped one."""

    layers: tuple[np.ndarray, ...]
    offset_px: tuple[int, int] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.layers[0].shape
        return rows, columns

    def on_frame(self, rows: int, columns: int) -> LabelImage | None:
        """The same on a whole frame: as it is, or a cropped one at its place; None where it does not fit."""
        if self.shape == (rows, columns):
            return LabelImage(self.layers)
        if self.offset_px is None:
            return None
        (top, left), (height, width) = self.offset_px, self.shape
        if top < 0 or left < 0 or top + height > rows or left + width > columns:
            return None
        frames = tuple(np.zeros((rows, columns), dtype=layer.dtype) for layer in self.layers)
        for frame, layer in zip(frames, self.layers, strict=True):
            frame[top : top + height, left : left + width] = layer
        return LabelImage(frames)

    def any_label(self) -> np.ndarray:
        """(H, W) boolean: what any label marks."""
        return np.any([layer > 0 for layer in self.layers], axis=0)

    def __reduce__(self) -> tuple[Any, ...]:
        """From one process to another goes what is marked: most of a frame is background."""
        return _from_boxes, (self.shape, tuple(map(_marked_box, self.layers)), self.offset_px)


def is_mask_name(name: str) -> bool:
    """Whether a file name ends like a mask's."""
    return name.lower().endswith((*VOLUMES, *SUFFIXES))


def read_mask(content: bytes, name: str) -> LabelImage:
    """A mask file as a label image.

    Raises:
        RefusedError: it is empty, unreadable, or not one two-dimensional picture.
    """
    if not content:
        raise RefusedError(Reason.EMPTY)
    suffix = next((end for end in VOLUMES if name.lower().endswith(end)), None)
    try:
        return LabelImage((_read_picture(content),)) if suffix is None else _read_volume(content, suffix)
    except RefusedError:
        raise
    except UNTRUSTED as error:
        raise RefusedError(Reason.MASK_UNREADABLE, type(error).__name__) from None


def fit_mask(labels: LabelImage, region: Region, frame_shape: tuple[int, int]) -> dict[int, np.ndarray]:
    """The boolean masks of a label image in the frame of the cropped image, by label.

    `labels` has the size of the whole frame, exactly that of the region, or is a cropped segmentation of the frame.

    Raises:
        RefusedError: the size is another, nothing is marked, or what is marked is outside the region or all of it.
    """
    shape = region.bottom - region.top, region.right - region.left
    placed, origin = labels.on_frame(*frame_shape), (region.top, region.left)
    if placed is None and labels.shape == shape:
        placed, origin = labels, (0, 0)
    if placed is None:
        (rows, columns), (want_rows, want_columns) = labels.shape, frame_shape
        raise RefusedError(Reason.MASK_MISMATCH, f"{rows} x {columns} for {want_rows} x {want_columns}")
    found = {}
    for mark in _marks(placed.layers):
        found[mark.label] = mark.seen_in(shape, origin)
        inside = np.count_nonzero(found[mark.label]) / np.count_nonzero(mark.pixels)
        if inside < MIN_INSIDE:
            raise RefusedError(Reason.MASK_OUTSIDE_REGION, f"{inside:.3f} inside")
    if not found:
        raise RefusedError(Reason.MASK_EMPTY)
    for mask in found.values():
        if (share := np.count_nonzero(mask) / mask.size) > MAX_COVER:
            raise RefusedError(Reason.MASK_COVERS_IMAGE, f"{share:.3f}")
    return found


def touches_border(mask: np.ndarray) -> bool:
    """Whether a mask reaches the edge of its image."""
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def _marked_box(layer: np.ndarray) -> tuple[int, int, np.ndarray]:
    """The first row and column of what is not 0 in an (H, W) layer, and the smallest box that holds it all."""
    marked = layer != 0
    rows, columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    if not rows.size:
        return 0, 0, layer[:0, :0].copy()
    return int(rows[0]), int(columns[0]), layer[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()


def _from_boxes(
    shape: tuple[int, int], boxes: Iterable[tuple[int, int, np.ndarray]], offset_px: tuple[int, int] | None
) -> LabelImage:
    layers = []
    for top, left, box in boxes:
        layers.append(np.zeros(shape, dtype=box.dtype))
        layers[-1][top : top + box.shape[0], left : left + box.shape[1]] = box
    return LabelImage(tuple(layers), offset_px)


def _means_indices(picture: Any) -> bool:
    """Of a palette picture: whether its few indices are labels, and not the colours black and white."""
    colors = {color for _, color in picture.convert("RGB").getcolors(_MAX_COLORS) or ()}
    return np.asarray(picture).max() <= _MAX_LABELS and colors != {(0, 0, 0), (255, 255, 255)}


@dataclass(frozen=True, slots=True)
class _Mark:
    """What one label marks: boolean `pixels`, the first of them at row `top` and column `left` of the layer."""

    label: int
    top: int
    left: int
    pixels: np.ndarray

    def seen_in(self, shape: tuple[int, int], origin: tuple[int, int]) -> np.ndarray:
        """The boolean mask in a window of the layer; `origin`: the window's first row and column."""
        window = np.zeros(shape, dtype=bool)
        top, left = self.top - origin[0], self.left - origin[1]
        inside = self.pixels[max(-top, 0) : max(shape[0] - top, 0), max(-left, 0) : max(shape[1] - left, 0)]
        top, left = max(top, 0), max(left, 0)
        window[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
        return window


def _marks(layers: Iterable[np.ndarray]) -> Iterator[_Mark]:
    """What each label marks; most of a layer is background, which is looked at once."""
    for number, layer in enumerate(layers):
        top, left, box = _marked_box(layer)
        for label in np.unique(box[box > 0]):
            yield _Mark(int(label) + LAYER_STEP * number, top, left, box == label)


def _read_volume(content: bytes, suffix: str) -> LabelImage:
    """By SimpleITK, which reads files only: a private copy that is deleted at once."""
    import SimpleITK

    if _DETACHED.search(content[:65_536].split(b"\n\n", 1)[0]):
        raise RefusedError(Reason.MASK_UNREADABLE, "pixels in another file")
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    with _scratch_file(content, suffix) as path:
        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        size, bands = reader.GetSize(), reader.GetNumberOfComponents()
        if np.prod([float(length) for length in (*size, bands)]) > MAX_PIXELS:
            raise RefusedError(Reason.TOO_LARGE)
        picture = reader.Execute()
    array = SimpleITK.GetArrayFromImage(picture)
    if bands == 1:
        array = array[..., np.newaxis]
    while array.ndim > 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3:
        raise RefusedError(Reason.MASK_UNREADABLE, f"{array.ndim - 1} dimensions")
    layers = tuple(_whole(array[..., band]) for band in range(array.shape[-1]))
    segments = max(_count_values(layer) for layer in layers)
    if segments > _MAX_SEGMENTS:
        raise RefusedError(Reason.MASK_UNREADABLE, f"{segments} different values")
    return LabelImage(layers, _offset(picture) if suffix == ".seg.nrrd" else None)


@contextmanager
def _scratch_file(content: bytes, suffix: str) -> Iterator[Path]:
    """A private copy on the disk.

    Raises:
        RefusedError: there is no room; that says nothing of the mask, which is looked at again.
    """
    with ExitStack() as stack:
        try:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / f"mask{suffix}"
            path.write_bytes(content)
        except OSError:
            raise RefusedError(Reason.IO_ERROR, "no room for a copy") from None
        yield path


def _whole(values: np.ndarray) -> np.ndarray:
    """Labels as uint8 where the file has them so, else as int32; those of a file of fractions are rounded."""
    if values.dtype == np.uint8:
        return values
    if not np.issubdtype(values.dtype, np.integer):
        return np.rint(values).astype(np.int32)
    largest = np.iinfo(np.int32).max
    if values.dtype.itemsize >= np.dtype(np.int32).itemsize and values.size and values.max() > largest:
        raise RefusedError(Reason.MASK_UNREADABLE, f"labels beyond {largest}")
    return values.astype(np.int32)


def _count_values(layer: np.ndarray) -> int:
    """How many different values there are; most pixels are background, which need not be sorted."""
    marked = layer[layer != 0]
    return len(np.unique(marked)) + (marked.size < layer.size)


def _offset(picture: object) -> tuple[int, int]:
    """(row, column) of a cropped segmentation in its frame, whose origin is 0 as of every ultrasound image."""
    dimension = picture.GetDimension()  # type: ignore[attr-defined]
    direction = np.reshape(picture.GetDirection(), (dimension, dimension))  # type: ignore[attr-defined]
    index = direction.T @ np.array(picture.GetOrigin()) / np.array(picture.GetSpacing())  # type: ignore[attr-defined]
    column, row = np.rint(index[:2]).astype(int)
    return int(row), int(column)


def _read_picture(content: bytes) -> np.ndarray:
    """A palette picture means its indices (unless its colours are black and white), two values mean 0 and 1.

    A soft edge is cut at half; alpha is ignored.
    """
    from PIL import Image

    with Image.open(io.BytesIO(content), formats=("PNG", "BMP", "TIFF", "JPEG")) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise RefusedError(Reason.TOO_LARGE)
        if picture.mode == "1" or (picture.mode == "P" and _means_indices(picture)):
            return np.asarray(picture).astype(np.uint8)
        is_grey = picture.mode in {"L", "I;16", "I;16B", "I"}
        values = np.asarray(picture) if is_grey else luminance_of_color(np.asarray(picture.convert("RGB")))
    present = np.unique(values)
    if len(present) <= 2:
        return (values > 0).astype(np.uint8)
    if len(present) <= _MAX_LABELS and present.max() <= _MAX_LABELS:
        return np.rint(values).astype(np.uint8)
    half = 127 if present.max() <= np.iinfo(np.uint8).max else np.iinfo(np.uint16).max // 2
    return (values > half).astype(np.uint8)
