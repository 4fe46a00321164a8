"""The private pixel cache: cropped luminance and masks as `.npy`, named by key alone."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from clnm.errors import writing


def write_image(root: Path, image_key: str, luminance: np.ndarray) -> None:
    """Keep an image's (H, W) luminance of its ultrasound region."""
    _write(_path(root, image_key), luminance)


def read_image(root: Path, image_key: str) -> np.ndarray:
    """The (H, W) luminance kept under `image_key`."""
    return np.load(_path(root, image_key), allow_pickle=False)


def write_mask(root: Path, roi_key: str, mask: np.ndarray) -> None:
    """Keep a ROI's (H, W) boolean mask in the frame of its image."""
    _write(_path(root, roi_key), mask.astype(bool, copy=False))


def read_mask(root: Path, roi_key: str) -> np.ndarray:
    """The (H, W) boolean mask kept under `roi_key`."""
    return np.load(_path(root, roi_key), allow_pickle=False)


def forget(root: Path, keys: list[str]) -> int:
    """Delete what is kept under some keys; says how many files there were."""
    paths = [path for key in keys if (path := _path(root, key)).exists()]
    for path in paths:
        path.unlink()
    return len(paths)


def _path(root: Path, key: str) -> Path:
    return root / key[-2:] / f"{key}.npy"


def _write(path: Path, array: np.ndarray) -> None:
    """Scratch, sync, rename; the folder is for the owner alone. What a killed run left is written over by the next."""
    scratch = path.with_suffix(".scratch")
    with writing("the cache of pixels"):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with scratch.open("wb") as file:
            np.save(file, np.ascontiguousarray(array), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        scratch.rename(path)
