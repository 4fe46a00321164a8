"""Embeddings: crops in, one vector each out, the same alone or in a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clnm.features.networks import as_input, device_here
from clnm.features.program import BATCH, load_program

_NO_MEMORY = ("out of memory", "ALLOC_FAILED")


def embed(crops: np.ndarray, program: Path, *, device: str | None = None) -> np.ndarray:
    """The embeddings of some crops.

    Args:
        crops: (N, S, S) float32 in [0, 1].
        program: what `write_program` wrote.
        device: cpu or cuda; left out, cuda where there is one, and the processor where its memory is full: workers
            share it, and others may too.

    Returns:
        (N, D) float32. Batch normalisation uses its stored statistics and batches are filled up to one size, so a
        crop's vector does not depend on the others.
    """
    try:
        return _embed(crops, program, device or device_here())
    except RuntimeError as error:
        if device is not None or not is_full(error):
            raise
        return _embed(crops, program, "cpu")


def is_full(error: RuntimeError) -> bool:
    """Whether a device has no memory left: torch, CUDA and cuBLAS each say it in their own way."""
    return any(words in str(error) for words in _NO_MEMORY)


def _embed(crops: np.ndarray, program: Path, device: str) -> np.ndarray:
    import torch

    network = load_program(program, device)
    with torch.inference_mode():
        vectors = [network(as_input(batch).to(device)).cpu().numpy() for batch in _batches(crops)]
    return np.concatenate(vectors).astype(np.float32)[: len(crops)]


def _batches(crops: np.ndarray) -> np.ndarray:
    """(B, 8, S, S), the last batch filled up with zeros."""
    return np.pad(crops, [(0, -len(crops) % BATCH), (0, 0), (0, 0)]).reshape(-1, BATCH, *crops.shape[1:])
