"""The private pixel cache: cropped luminance and masks, in files named by key alone.

What was decoded waits in a folder of its own until it is known what becomes of its file.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path

import numpy as np

from clnm.errors import writing

_WAITING = "waiting"


def sync(root: Path) -> None:
    """Everything that was written outlasts a failure of power: to be called before a row refers to it.

    Once for all files: to sync each of them costs the kernel ten times as much as to write it.

    Raises:
        StoreError: the disk is full or cannot be written.
    """
    if not root.exists():
        return
    with writing("the cache of pixels"):
        folder = os.open(root, os.O_RDONLY)
        try:
            _sync_file_system(folder)
        finally:
            os.close(folder)


def _sync_file_system(descriptor: int) -> None:
    """Of the file system that holds the file, which Python has no name for; where the kernel has none, of all."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "syncfs"):
        os.sync()
    elif library.syncfs(descriptor) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def write_image(root: Path, image_key: str, luminance: np.ndarray) -> None:
    """Keep an image's (H, W) luminance of its ultrasound region."""
    _write(_path(root, image_key), luminance)


def write_waiting(root: Path, file_key: str, luminance: np.ndarray) -> None:
    """The same of a file of which it is not known yet whether it is an image of its own."""
    _write(_waiting(root, file_key), luminance)


def accept(root: Path, file_key: str, image_key: str) -> None:
    """Keep what waits under `file_key` as an image."""
    path = _path(root, image_key)
    with writing("the cache of pixels"):
        _make(path.parent)
        _waiting(root, file_key).rename(path)


def drop_waiting(root: Path) -> None:
    """Delete what nobody accepted."""
    shutil.rmtree(root / _WAITING, ignore_errors=True)


def read_image(root: Path, image_key: str) -> np.ndarray:
    """The (H, W) luminance kept under `image_key`."""
    return np.load(_path(root, image_key), allow_pickle=False)


def write_mask(root: Path, roi_key: str, mask: np.ndarray) -> None:
    """Keep a ROI's (H, W) boolean mask in the frame of its image: its shape, then eight pixels to a byte."""
    _write(_path(root, roi_key), np.array(mask.shape), np.packbits(mask))


def read_mask(root: Path, roi_key: str) -> np.ndarray:
    """The (H, W) boolean mask kept under `roi_key`."""
    with _path(root, roi_key).open("rb") as file:
        shape = np.load(file, allow_pickle=False)
        if shape.ndim == 2:  # a mask as it was kept before: the pixels themselves
            return shape
        bits = np.load(file, allow_pickle=False)
    return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).view(bool)


def forget(root: Path, keys: list[str]) -> int:
    """Delete what is kept under some keys; says how many files there were."""
    paths = [path for key in keys if (path := _path(root, key)).exists()]
    for path in paths:
        path.unlink()
    return len(paths)


def _path(root: Path, key: str) -> Path:
    return root / key[-2:] / f"{key}.npy"


def _waiting(root: Path, file_key: str) -> Path:
    return root / _WAITING / f"{file_key}.npy"


def _write(path: Path, *arrays: np.ndarray) -> None:
    """Scratch, rename. What a killed run left is written over by the next."""
    scratch = path.with_suffix(".scratch")
    with writing("the cache of pixels"):
        _make(path.parent)
        with scratch.open("wb") as file:
            for array in arrays:
                np.save(file, np.ascontiguousarray(array), allow_pickle=False)
        scratch.rename(path)


def _make(folder: Path) -> None:
    """For its owner alone. To ask first costs less than to make what is there."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
