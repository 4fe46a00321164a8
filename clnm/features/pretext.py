"""Weights learned from images alone, without outcomes: VICReg (Bardes, Ponce & LeCun, ICLR 2022).

Two augmented views of a crop shall embed alike (invariance) while each dimension keeps varying over the batch
(variance) and no two dimensions say the same (covariance). It needs no negatives, so it works with the small batches
a hospital has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clnm.features.learning import augment, normalised, repeatable
from clnm.features.networks import as_input, build

if TYPE_CHECKING:
    import torch

EPOCHS = 12
_WINDOW = 2 / 3
"""Of a crop's side, what a view shows of it: random windows, as in the paper, and less than half of the arithmetic."""
_BATCH = 24
_LEARNING_RATE = 1e-3
_INVARIANCE, _VARIANCE, _COVARIANCE = 25.0, 25.0, 1.0
"""Weights of the three terms, from the paper (section 4.2)."""


def train_encoder(crops: np.ndarray, *, backbone: str, seed: int, epochs: int = EPOCHS) -> dict[str, torch.Tensor]:
    """Train an encoder on crops (N, S, S) in [0, 1]; the same crops and seed give the same weights."""
    with repeatable(seed):
        return _train(crops, backbone, epochs)


def _train(crops: np.ndarray, backbone: str, epochs: int) -> dict[str, torch.Tensor]:
    import torch

    encoder = build(backbone).to(memory_format=torch.channels_last).train()
    images = torch.from_numpy(np.ascontiguousarray(crops, dtype=np.float32))[:, None]
    batch = max(2, min(_BATCH, len(crops)))
    with torch.no_grad():
        width = encoder.eval()(as_input(crops[:1])).shape[1]
    encoder.train()
    projector = torch.nn.Sequential(
        torch.nn.Linear(width, 256), torch.nn.BatchNorm1d(256), torch.nn.ReLU(), torch.nn.Linear(256, 256)
    )
    parameters = [*encoder.parameters(), *projector.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=_LEARNING_RATE, weight_decay=1e-4)
    steps = epochs * (len(crops) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=max(1, steps))
    for _ in range(epochs):
        order = torch.randperm(len(images))
        for start in range(0, len(images) - batch + 1, batch):
            chosen = images[order[start : start + batch]]
            views = [projector(encoder(normalised(augment(chosen, window=_WINDOW)))) for _ in range(2)]
            loss = vicreg_loss(views[0], views[1])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    return {name: value.detach().clone() for name, value in encoder.state_dict().items()}


def vicreg_loss(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The VICReg loss of two (N, D) views: equations 1 to 5 of the paper."""
    import torch

    n, width = left.shape
    invariance = torch.nn.functional.mse_loss(left, right)
    variance, covariance = torch.zeros(()), torch.zeros(())
    for view in (left, right):
        spread = torch.sqrt(view.var(dim=0) + 1e-4)
        variance = variance + torch.relu(1 - spread).mean() / 2
        centred = view - view.mean(dim=0)
        products = (centred.T @ centred) / (n - 1)
        covariance = covariance + (products.pow(2).sum() - products.diagonal().pow(2).sum()) / width
    return _INVARIANCE * invariance + _VARIANCE * variance + _COVARIANCE * covariance
