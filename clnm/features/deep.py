"""Embeddings: crops in, one vector each out, the same alone or in a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clnm.features.networks import as_input
from clnm.features.program import BATCH, load_program


def embed(crops: np.ndarray, program: Path, *, device: str = "auto") -> np.ndarray:
    """The embeddings of some crops.

    Args:
        crops: (N, S, S) float32 in [0, 1].
        program: what `write_program` wrote.
        device: cpu, cuda, or auto (cuda where there is one).

    Returns:
        (N, D) float32. Batch normalisation uses its stored statistics and batches are filled up to one size, so a
        crop's vector does not depend on the others.
    """
    import torch

    place = "cuda" if device == "auto" and torch.cuda.is_available() else "cpu" if device == "auto" else device
    network = load_program(program, place)
    with torch.inference_mode():
        vectors = [network(as_input(batch).to(place)).cpu().numpy() for batch in _batches(crops)]
    return np.concatenate(vectors).astype(np.float32)[: len(crops)]


def _batches(crops: np.ndarray) -> np.ndarray:
    """(B, 8, S, S), the last batch filled up with zeros."""
    return np.pad(crops, [(0, -len(crops) % BATCH), (0, 0), (0, 0)]).reshape(-1, BATCH, *crops.shape[1:])
