"""The private pixel cache: cropped luminance and masks, in files named by key alone.

What was decoded waits in a folder of its own until it is known what becomes of its file.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from clnm.errors import writing

_WAITING = "waiting-"


@contextlib.contextmanager
def waiting_room(root: Path) -> Iterator[Path]:
    """A new folder for what was decoded, deleted when the block ends; and those of killed runs.

    When it ends without an error, everything that was kept in it outlasts a failure of power as far as the file system
    can promise that: what is lost all the same is read again from the archive. The disk is synced once for all files,
    because to sync each of them costs the kernel ten times as much as to write it.

    Raises:
        StoreError: the disk is full or cannot be written.
    """
    with writing("the cache of pixels"):
        _make(root)
        folder = os.open(root, os.O_RDONLY)  # before anything is written: what fails from now on is told
    try:
        drop_waiting(root)
        with writing("the cache of pixels"):
            room = Path(mkdtemp(prefix=_WAITING, dir=root))
        yield room
        with writing("the cache of pixels"):
            _sync_file_system(folder)
    finally:
        os.close(folder)
        drop_waiting(root)


def drop_waiting(root: Path) -> None:
    """Delete what waits and what waited in vain.

    Raises:
        StoreError: it cannot be deleted.
    """
    with writing("the cache of pixels"):
        for room in root.glob(f"{_WAITING}*"):
            shutil.rmtree(room)


def write_waiting(room: Path, file_key: str, luminance: np.ndarray) -> None:
    """An image's pixels, of a file of which it is not known yet whether it is an image of its own.

    The room is not made here: a process that outlived its run finds none.
    """
    _write(_named(room, file_key), luminance)


def accept(room: Path, file_key: str, root: Path, image_key: str) -> None:
    """Keep what waits under `file_key` as an image."""
    path = _path(root, image_key)
    with writing("the cache of pixels"):
        _make(path.parent)
        _put_in_place(_named(room, file_key), path)


def discard(room: Path, file_key: str) -> None:
    """Delete what waits under `file_key`, if anything does."""
    _named(room, file_key).unlink(missing_ok=True)


def write_image(root: Path, image_key: str, luminance: np.ndarray) -> None:
    """Keep an image's (H, W) luminance of its ultrasound region."""
    path = _path(root, image_key)
    with writing("the cache of pixels"):
        _make(path.parent)
    _write(path, luminance)


def read_image(root: Path, image_key: str) -> np.ndarray:
    """The (H, W) luminance kept under `image_key`."""
    return np.load(_path(root, image_key), allow_pickle=False)


def write_mask(root: Path, roi_key: str, mask: np.ndarray) -> None:
    """Keep a ROI's (H, W) boolean mask in the frame of its image: its shape, then eight pixels to a byte."""
    path = _path(root, roi_key)
    with writing("the cache of pixels"):
        _make(path.parent)
    _write(path, np.array(mask.shape), np.packbits(mask))


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


def _named(room: Path, file_key: str) -> Path:
    return room / f"{file_key}.npy"


def _write(path: Path, *arrays: np.ndarray) -> None:
    """Scratch, rename. What a killed run left is written over by the next."""
    content = io.BytesIO()  # numpy does not say when the end of a file of its own finds no room
    for array in arrays:
        np.save(content, np.ascontiguousarray(array), allow_pickle=False)
    scratch = path.with_suffix(".scratch")
    with writing("the cache of pixels"):
        scratch.write_bytes(content.getbuffer())
        _put_in_place(scratch, path)


def _put_in_place(scratch: Path, path: Path) -> None:
    """By a rename. What a row of the store may name already is not replaced by what could still be lost."""
    if path.exists():
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
    scratch.rename(path)


def _make(folder: Path) -> None:
    """For its owner alone. To ask first costs less than to make what is there."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def _sync_file_system(descriptor: int) -> None:
    """Of the file system that holds the file, which Python has no name for; where the kernel has none, of all."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "syncfs"):
        os.sync()
    elif library.syncfs(descriptor) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
