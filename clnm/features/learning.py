"""What both ways of training a network share: the augmentation ultrasound allows, and runs that can be repeated."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clnm.features.networks import as_input

if TYPE_CHECKING:
    import torch

_MAX_ANGLE, _MAX_SHIFT, _MAX_ZOOM = math.radians(12), 0.06, 0.12


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """The same inputs and seed give the same weights.

    One thread: the order of additions stays the same, and on a busy machine several threads wait for each other
    (measured: ten times slower on two cores with other work).
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)


def augment(images: torch.Tensor, *, window: float = 1.0) -> torch.Tensor:
    """One random view of each (N, 1, S, S) image.

    Left-right flips, small rotations, shifts and zooms, gain and gamma, multiplicative noise. Never up-down: depth has
    a direction.

    Args:
        images: intensities in [0, 1].
        window: the share of an image's side that its view shows, somewhere in the image.

    Returns:
        (N, 1, V, V), V = S times `window`, in [0, 1].
    """
    import torch

    n, side = len(images), round(images.shape[-1] * window)

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand(n) * (high - low) + low

    angle, zoom = uniform(-_MAX_ANGLE, _MAX_ANGLE), 1 + uniform(-_MAX_ZOOM, _MAX_ZOOM)
    flip = torch.where(torch.rand(n) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    max_shift = _MAX_SHIFT + 1 - window
    shift = [uniform(-max_shift, max_shift) for _ in range(2)]
    turn = window * torch.stack([torch.stack([cos * flip, -sin], 1), torch.stack([sin * flip, cos], 1)], 1)
    affine = torch.cat([turn, torch.stack(shift, 1)[:, :, None]], 2)
    grid = torch.nn.functional.affine_grid(affine, [n, 1, side, side], align_corners=False)
    moved = torch.nn.functional.grid_sample(images, grid, align_corners=False)
    gain, gamma = uniform(0.8, 1.25).view(n, 1, 1, 1), uniform(0.8, 1.25).view(n, 1, 1, 1)
    noisy = moved.clamp_min(1e-4).pow(gamma) * gain * (1 + 0.1 * torch.randn_like(moved))
    return noisy.clamp(0, 1)


def normalised(images: torch.Tensor) -> Any:
    """(N, 1, S, S) in [0, 1] as a network's input."""
    return as_input(images[:, 0].numpy())
