"""Masks: read NRRD, NIfTI and PNG as label images, and fit them to the image they belong to."""

from __future__ import annotations

import io
import tempfile
import warnings
from pathlib import Path

import numpy as np

from clnm.entities import Reason
from clnm.imaging.decode import MAX_PIXELS, luminance_of_color
from clnm.imaging.pictures import SUFFIXES
from clnm.imaging.refusal import UNTRUSTED, RefusedError
from clnm.imaging.regions import Region

VOLUMES = (".nrrd", ".nii", ".nii.gz", ".mha")
MAX_COVER = 0.95
"""A mask over more of the image than this marks the image, not a lesion."""
_MAX_LABELS = 8
"""More different values than this is a grey picture of a mask, not a label image."""


def is_mask_name(name: str) -> bool:
    """Whether a file name ends like a mask's."""
    return name.lower().endswith((*VOLUMES, *SUFFIXES))


def read_mask(content: bytes, name: str) -> np.ndarray:
    """A mask file as an (H, W) integer label image.

    Raises:
        RefusedError: it is empty, unreadable, or not one two-dimensional picture.
    """
    if not content:
        raise RefusedError(Reason.EMPTY)
    suffix = next((end for end in VOLUMES if name.lower().endswith(end)), None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            labels = _read_picture(content) if suffix is None else _read_volume(content, suffix)
        except UNTRUSTED as error:
            raise RefusedError(Reason.MASK_UNREADABLE, type(error).__name__) from None
    if labels.ndim != 2:
        raise RefusedError(Reason.MASK_UNREADABLE, f"{labels.ndim} dimensions")
    return labels


def fit_mask(labels: np.ndarray, region: Region, frame_shape: tuple[int, int]) -> dict[int, np.ndarray]:
    """The boolean masks of a label image in the frame of the cropped image, by label.

    `labels` has the size of the whole frame, or exactly that of the region.

    Raises:
        RefusedError: the size is another, nothing is marked, or what is marked is outside the region or all of it.
    """
    box = (region.bottom - region.top, region.right - region.left)
    if labels.shape == frame_shape:
        cropped = labels[region.top : region.bottom, region.left : region.right]
    elif labels.shape == box:
        cropped = labels
    else:
        raise RefusedError(
            Reason.MASK_MISMATCH, f"{labels.shape[0]} x {labels.shape[1]} for {frame_shape[0]} x {frame_shape[1]}"
        )
    found = {int(label): cropped == label for label in np.unique(cropped) if label > 0}
    if not found:
        raise RefusedError(Reason.MASK_OUTSIDE_REGION if (labels > 0).any() else Reason.MASK_EMPTY)
    for mask in found.values():
        if mask.mean() > MAX_COVER:
            raise RefusedError(Reason.MASK_COVERS_IMAGE, f"{mask.mean():.3f}")
    return found


def touches_border(mask: np.ndarray) -> bool:
    """Whether a mask reaches the edge of its image."""
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def _read_volume(content: bytes, suffix: str) -> np.ndarray:
    """By SimpleITK, which reads files only: a private copy that is deleted at once."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"mask{suffix}"
        path.write_bytes(content)
        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        if np.prod([float(size) for size in reader.GetSize()]) > MAX_PIXELS:
            raise ValueError("too large")
        labels = SimpleITK.GetArrayFromImage(reader.Execute())
    if labels.ndim == 3 and labels.shape[0] == 1:
        labels = labels[0]
    return np.rint(labels).astype(np.int32)


def _read_picture(content: bytes) -> np.ndarray:
    """A palette picture means its indices; two values mean 0 and 1; a soft-edged one is cut at half."""
    from PIL import Image

    with Image.open(io.BytesIO(content), formats=("PNG", "BMP", "TIFF", "JPEG")) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError("too large")
        if picture.mode in {"P", "1"}:
            return np.asarray(picture).astype(np.int32)
        is_grey = picture.mode in {"L", "I;16", "I"}
        values = np.asarray(picture) if is_grey else luminance_of_color(np.asarray(picture.convert("RGB")))
    present = np.unique(values)
    if len(present) <= 2:
        return (values > 0).astype(np.int32)
    if len(present) <= _MAX_LABELS and present.max() <= _MAX_LABELS:
        return np.rint(values).astype(np.int32)
    return (values > 127).astype(np.int32)
