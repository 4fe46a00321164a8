"""Embeddings: crops in, one vector each out, the same alone or in a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clnm.features.networks import as_input, device_here
from clnm.features.program import BATCH, load_program


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
    import torch

    try:
        return _embed(crops, program, device or device_here())
    except torch.OutOfMemoryError:
        if device is not None:
            raise
        return _embed(crops, program, "cpu")


def _embed(crops: np.ndarray, program: Path, device: str) -> np.ndarray:
    import torch

    network = load_program(program, device)
    with torch.inference_mode():
        vectors = [network(as_input(batch).to(device)).cpu().numpy() for batch in _batches(crops)]
    return np.concatenate(vectors).astype(np.float32)[: len(crops)]


def _batches(crops: np.ndarray) -> np.ndarray:
    """(B, 8, S, S), the last batch filled up with zeros."""
    return np.pad(crops, [(0, -len(crops) % BATCH), (0, 0), (0, 0)]).reshape(-1, BATCH, *crops.shape[1:])
