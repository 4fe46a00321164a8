"""The private pixel cache: cropped luminance and masks, in files named by key alone.

An intake's pixels wait in a room of their own until its rows are committed: what a row speaks of is what is kept, and a
killed run leaves nothing that nobody knows of.
"""

from __future__ import annotations

import ctypes
import io
import os
import shutil
from collections.abc import Container
from pathlib import Path

import numpy as np

from clnm.errors import writing

_ROOM, _ACCEPTED = "waiting-", "accepted"


def new_room(root: Path, name: str) -> Path:
    """A folder for one intake's pixels, to be committed under `name`.

    Raises:
        StoreError: the disk is full or cannot be written.
    """
    room = root / f"{_ROOM}{name}"
    with writing("the cache of pixels"):
        for folder in (root, room, room / _ACCEPTED):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return room


def close_rooms(root: Path, committed: Container[str]) -> None:
    """Put what was committed in its place, and delete what was not; a run that was killed is made good by the next.

    Args:
        root: the cache.
        committed: the names under which intakes were committed.

    Raises:
        StoreError: the disk cannot be written; what was committed waits.
    """
    for room in sorted(root.glob(f"{_ROOM}*")):
        if room.name.removeprefix(_ROOM) in committed:
            close_room(root, room)
        else:
            drop_room(room)


def close_room(root: Path, room: Path) -> None:
    """Put what was accepted in its place; raises as `close_rooms` does."""
    with writing("the cache of pixels"):
        for path in (room / _ACCEPTED).glob("*.npy"):
            place = _place(root, path.stem)
            if not place.parent.is_dir():
                place.parent.mkdir(mode=0o700)
            path.rename(place)
    drop_room(room)


def drop_room(room: Path) -> None:
    """Delete a room and what is in it: nothing is committed under its name."""
    with writing("the cache of pixels"):
        shutil.rmtree(room)


def sync(room: Path) -> None:
    """What was accepted outlasts a failure of power, as far as the file system can promise that.

    Once for all files: to sync each of them costs the kernel ten times as much as to write it. Before Linux 5.8 the
    kernel does not say where it failed; pixels that were lost are read again from the archive.

    Raises:
        StoreError: the disk is full or cannot be written.
    """
    if not any((room / _ACCEPTED).iterdir()):
        return
    with writing("the cache of pixels"):
        folder = os.open(room, os.O_RDONLY)
        try:
            _sync_file_system(folder)
        finally:
            os.close(folder)


def write_image(room: Path, file_key: str, luminance: np.ndarray) -> None:
    """An image's (H, W) luminance of its ultrasound region; what becomes of its file is decided later.

    No folder is made: a process that outlived its run finds no room.
    """
    _write(_waiting(room, file_key), luminance)


def accept_image(room: Path, file_key: str, image_key: str) -> None:
    """Keep under `image_key` what waits under `file_key`."""
    with writing("the cache of pixels"):
        _waiting(room, file_key).rename(_accepted(room, image_key))


def discard_image(room: Path, file_key: str) -> None:
    """Delete what waits under `file_key`, if anything does."""
    _waiting(room, file_key).unlink(missing_ok=True)


def write_mask(room: Path, roi_key: str, mask: np.ndarray) -> None:
    """Keep a ROI's (H, W) boolean mask in the frame of its image: its shape, then eight pixels to a byte."""
    _write(_accepted(room, roi_key), np.array(mask.shape), np.packbits(mask))


def read_image(root: Path, image_key: str) -> np.ndarray:
    """The (H, W) luminance kept under `image_key`."""
    return np.load(_place(root, image_key), allow_pickle=False)


def read_mask(root: Path, roi_key: str) -> np.ndarray:
    """The (H, W) boolean mask kept under `roi_key`."""
    with _place(root, roi_key).open("rb") as file:
        shape = np.load(file, allow_pickle=False)
        if shape.ndim == 2:  # a mask as it was kept before: the pixels themselves
            return shape
        bits = np.load(file, allow_pickle=False)
    return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).view(bool)


def forget(root: Path, keys: list[str]) -> int:
    """Delete what is kept under some keys; says how many files there were."""
    paths = [path for key in keys if (path := _place(root, key)).exists()]
    for path in paths:
        path.unlink()
    return len(paths)


def _place(root: Path, key: str) -> Path:
    return root / key[-2:] / f"{key}.npy"


def _waiting(room: Path, file_key: str) -> Path:
    return room / f"{file_key}.npy"


def _accepted(room: Path, key: str) -> Path:
    return room / _ACCEPTED / f"{key}.npy"


def _write(path: Path, *arrays: np.ndarray) -> None:
    """Without a scratch file: what is half written in a room is never committed."""
    content = io.BytesIO()  # numpy does not say when the end of a file of its own finds no room
    for array in arrays:
        np.save(content, np.ascontiguousarray(array), allow_pickle=False)
    with writing("the cache of pixels"):
        path.write_bytes(content.getbuffer())


def _sync_file_system(descriptor: int) -> None:
    """Of the file system that holds the file, which Python has no name for; where the kernel has none, of all."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "syncfs"):
        os.sync()
    elif library.syncfs(descriptor) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
