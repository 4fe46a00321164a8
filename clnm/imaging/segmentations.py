"""DICOM segmentations (PS3.3 A.51): the label image of one ultrasound frame, and which instance it was drawn on."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from clnm.entities import Reason
from clnm.imaging.dicom import MAX_PIXELS, NATIVE, DicomFile, parse_dicom, whole_number
from clnm.imaging.masks import LabelImage
from clnm.imaging.refusal import UNTRUSTED, RefusedError

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
_MAX_SEGMENTS = 64


@dataclass(frozen=True, slots=True, repr=False)
class Segmentation:
    """What was drawn, on what, by whom. It prints nothing: it holds a UID and a name."""

    labels: LabelImage
    """The labels are the numbers of the segments."""
    image_uid: str
    """SOPInstanceUID of the image; nothing where the file does not say."""
    frame: int
    """Of a clip: the frame, from 0."""
    author: str


def drawn_on(dataset: Any) -> set[tuple[str, str, int]]:
    """The images that a segmentation names: class, instance and frame (from 0)."""
    return {(_uid(item, "Class"), _uid(item, "Instance"), _frame(item)) for item in _references(dataset)}


def read_segmentation(content: bytes) -> Segmentation:
    """A segmentation of one frame.

    Raises:
        RefusedError: it is cut, of several images or slices, or its pixels cannot be read.
    """
    file = parse_dicom(content)
    file.demand_pixels()
    try:
        frames, numbers = _frames(file), list(_segment_numbers(file.dataset))
        references = {reference[1:] for reference in drawn_on(file.dataset)}
        author = str(file.dataset.get("ContentCreatorName", "") or "")
    except RefusedError:
        raise
    except UNTRUSTED as error:
        raise RefusedError(Reason.MASK_UNREADABLE, type(error).__name__) from None
    if len(references) > 1:
        raise RefusedError(Reason.MASK_UNREADABLE, f"drawn on {len(references)} images")
    if len(numbers) != len(frames) or len(set(numbers)) < len(numbers) or max(numbers) > _MAX_SEGMENTS:
        raise RefusedError(Reason.MASK_UNREADABLE, f"{len(frames)} slices of {len(set(numbers))} segments")
    uid, frame = next(iter(references), ("", 0))
    return Segmentation(LabelImage(tuple(_layers(frames, numbers))), uid, frame, author)


def _frames(file: DicomFile) -> np.ndarray:
    """(frames, H, W) boolean; of a fractional segmentation what is at least half."""
    from pydicom import dcmread
    from pydicom.pixels import pixel_array

    rows, columns = whole_number(file.dataset, "Rows"), whole_number(file.dataset, "Columns")
    count = max(1, whole_number(file.dataset, "NumberOfFrames", default=1))
    if rows * columns * count > MAX_PIXELS:
        raise RefusedError(Reason.TOO_LARGE, f"{rows} x {columns} x {count}")
    dataset = dcmread(io.BytesIO(file.content), force=True)
    if "PixelData" not in dataset:  # compressed and cut: it reads as no pixels, without an error
        raise RefusedError(Reason.TRUNCATED_PIXELS)
    bits = whole_number(dataset, "BitsAllocated")
    want = (rows * columns * count * bits + 7) // 8
    if not dataset.PixelData or (file.transfer_syntax in NATIVE and len(dataset.PixelData) < want):
        raise RefusedError(Reason.TRUNCATED_PIXELS, f"{len(dataset.PixelData)} of {want} bytes")
    values = pixel_array(dataset).reshape(count, rows, columns)
    if str(dataset.get("SegmentationType", "")) == "FRACTIONAL":
        return values >= max(1, whole_number(dataset, "MaximumFractionalValue")) / 2
    return values > 0


def _segment_numbers(dataset: Any) -> Iterator[int]:
    shared = dataset.get("SharedFunctionalGroupsSequence", None) or [None]
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        named = frame.get("SegmentIdentificationSequence", None) or shared[0].SegmentIdentificationSequence
        yield int(named[0].ReferencedSegmentNumber)


def _layers(frames: np.ndarray, numbers: list[int]) -> Iterator[np.ndarray]:
    """Segments in as few layers as they do not overlap in, in the order of their numbers."""
    left = sorted(range(len(numbers)), key=lambda place: numbers[place])
    while left:
        layer = np.zeros(frames.shape[1:], dtype=np.int32)
        overlapping = []
        for place in left:
            if (layer[frames[place]] > 0).any():
                overlapping.append(place)
            else:
                layer[frames[place]] = numbers[place]
        yield layer
        left = overlapping


def _references(dataset: Any) -> Iterator[Any]:
    """By frame where the frames say it; else the images of the whole file."""
    found = []
    for group in dataset.get("PerFrameFunctionalGroupsSequence", None) or []:
        for derivation in group.get("DerivationImageSequence", None) or []:
            found += list(derivation.get("SourceImageSequence", None) or [])
    if not found:
        for series in dataset.get("ReferencedSeriesSequence", None) or []:
            found += list(series.get("ReferencedInstanceSequence", None) or [])
    yield from found


def _uid(item: Any, kind: str) -> str:
    return str(item.get(f"ReferencedSOP{kind}UID", "") or "").strip(" \x00")


def _frame(item: Any) -> int:
    number = item.get("ReferencedFrameNumber", None)
    if number is None or number == "":
        return 0
    first = number if isinstance(number, (int, str)) else number[0]
    return int(first) - 1
