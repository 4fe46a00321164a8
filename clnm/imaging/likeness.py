"""How alike pictures look: difference hashes (Krawetz 2013) of 16 x 16 bits, and the bits in which they differ."""

from __future__ import annotations

import numpy as np

SIDE = 16
HASH_BYTES = SIDE * SIDE // 8
MAX_BITS = 12
"""Of 256: the published near-duplicates of BUSI lie within, different patients of BUS-BRA beyond."""
_FLAT = 2.0
"""Grey levels: the coarse picture of less contrast is a blank, and all blanks are alike."""


def likeness_of(luminance: np.ndarray) -> bytes:
    """The difference hash of an (H, W) picture; nothing of a blank, or of one smaller than the grid."""
    from PIL import Image

    if min(luminance.shape) <= SIDE:
        return b""
    if luminance.dtype != np.uint8:
        levels = luminance.astype(np.float32)
        luminance = levels * (255.0 / max(float(levels.max()), 1.0))
    grid = (SIDE + 1, SIDE)
    coarse = np.asarray(Image.fromarray(luminance).resize(grid, Image.Resampling.BOX)).astype(np.float32)
    if coarse.std() < _FLAT:
        return b""
    return np.packbits(coarse[:, 1:] > coarse[:, :-1]).tobytes()


def differing_bits(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n, m) of (n, 4) and (m, 4) hashes in words of 64 bits."""
    bits = np.zeros((len(some), len(others)), dtype=np.uint16)
    for word in range(some.shape[1]):
        bits += np.bitwise_count(some[:, word, None] ^ others[None, :, word])
    return bits


def as_words(hashes: list[bytes]) -> np.ndarray:
    """(n, 4) unsigned words of n hashes."""
    return np.frombuffer(b"".join(hashes), dtype=np.uint64).reshape(-1, HASH_BYTES // 8)
