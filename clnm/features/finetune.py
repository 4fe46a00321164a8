"""Supervised fine-tuning: the encoder and one logit on top, fitted to the outcomes of the rows given and no others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clnm.features.learning import augment, normalised, repeatable
from clnm.features.networks import load_network

if TYPE_CHECKING:
    import torch

_BATCH = 24
_LEARNING_RATE = 1e-4
_HELD_OUT = 5
"""One patient in so many judges the epochs and is not learned from."""
_PATIENCE = 3
"""Epochs without a better loss on the held-out patients after which training stops."""


class FineTuned:
    """An encoder with a logit, in evaluation mode."""

    def __init__(self, network: Any, head: Any) -> None:
        self._network, self._head = network.eval(), head.eval()

    def margins(self, crops: np.ndarray) -> np.ndarray:
        """The logit of each (N, S, S) crop in [0, 1]: (N,); 0 for the average training row, as of a signature.

        Without an intercept the scores of different folds share one origin, and no fold's prevalence leaks into them.
        """
        import torch

        from clnm.features.networks import as_input

        with torch.inference_mode():
            parts = [
                self._head(self._network(as_input(crops[start : start + _BATCH])))[:, 0].double().numpy()
                for start in range(0, len(crops), _BATCH)
            ]
        return np.concatenate(parts) if parts else np.zeros(0)

    def state(self) -> dict[str, torch.Tensor]:
        """The weights of encoder and logit, for `networks.save_weights`."""
        return {**self._network.state_dict(), **{f"head.{k}": v for k, v in self._head.state_dict().items()}}


def load_fine_tuned(backbone: str, path: Path) -> FineTuned:
    """What `FineTuned.state` kept; raises `ConfigurationError` as `load_network` does."""
    import torch
    from safetensors.torch import load_file

    network, state = load_network(backbone, path), load_file(path)
    head = torch.nn.Linear(state["head.weight"].shape[1], 1)
    head.load_state_dict({name: state[f"head.{name}"] for name in ("weight", "bias")})
    return FineTuned(network, head)


def fine_tune(
    crops: np.ndarray,
    outcome: np.ndarray,
    patients: np.ndarray,
    *,
    backbone: str,
    weights: Path,
    epochs: int,
    seed: int,
) -> FineTuned:
    """Fit encoder and logit to boolean outcomes; the same inputs and seed give the same network.

    A fifth of the patients is held out of the steps: the epoch of least loss on them is kept, the start among them
    (then every margin is 0), and training stops early. Batch normalisation keeps the encoder's statistics: a fold is
    too small to learn its own.

    Args:
        crops: (N, S, S) in [0, 1].
        outcome: (N,) boolean, both answers among them.
        patients: (N,) keys; no patient is on both sides.
        backbone: the network of `weights`.
        weights: where the encoder starts.
        epochs: at most so many.
        seed: of order, augmentation and the held-out patients.
    """
    with repeatable(seed):
        return _fit(crops, outcome.astype(bool), patients, load_network(backbone, weights), epochs)


def _fit(crops: np.ndarray, outcome: np.ndarray, patients: np.ndarray, network: Any, epochs: int) -> FineTuned:
    import torch

    images = torch.from_numpy(np.ascontiguousarray(crops, dtype=np.float32))[:, None]
    truth = torch.from_numpy(outcome.astype(np.float32))
    network = network.to(memory_format=torch.channels_last)
    with torch.no_grad():
        width = network(normalised(images[:1])).shape[1]
    head = torch.nn.Linear(width, 1)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.constant_(head.bias, float(np.log(outcome.mean() / (1 - outcome.mean()))))
    optimizer = torch.optim.AdamW([*network.parameters(), *head.parameters()], lr=_LEARNING_RATE, weight_decay=1e-2)
    is_held_out = torch.from_numpy(_held_out(outcome, patients))
    fit_rows, held_rows = torch.nonzero(~is_held_out)[:, 0], torch.nonzero(is_held_out)[:, 0]
    loss_of = torch.nn.functional.binary_cross_entropy_with_logits

    def held_out_loss() -> float:
        margins = FineTuned(network, head).margins(crops[held_rows.numpy()])
        return float(loss_of(torch.from_numpy(margins), truth[held_rows].double()))

    best_loss, best, since = held_out_loss(), _copy(network, head), 0
    for _ in range(epochs):
        for rows in fit_rows[torch.randperm(len(fit_rows))].split(_BATCH):
            logit = head(network(normalised(augment(images[rows]))))[:, 0]
            optimizer.zero_grad(set_to_none=True)
            loss_of(logit, truth[rows]).backward()
            optimizer.step()
        loss, since = held_out_loss(), since + 1
        if loss < best_loss:
            best_loss, best, since = loss, _copy(network, head), 0
        if since >= _PATIENCE:
            break
    for part, state in zip((network, head), best, strict=True):
        part.load_state_dict(state)
    with torch.no_grad():
        head.bias -= float(FineTuned(network, head).margins(crops).mean())
    return FineTuned(network, head)


def _held_out(outcome: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Every fifth patient of either outcome, drawn with the run's seed: (rows,) boolean."""
    import torch

    keys = np.array(list(dict.fromkeys(patients)))  # in the order they come: another pseudonym key, the same rows
    is_positive = np.array([outcome[patients == key].any() for key in keys])
    chosen: list[str] = []
    for answer in (True, False):
        members = keys[is_positive == answer]
        chosen += members[torch.randperm(len(members)).numpy()][::_HELD_OUT].tolist()
    return np.isin(patients, chosen)


def _copy(*parts: Any) -> list[dict[str, torch.Tensor]]:
    return [{name: value.detach().clone() for name, value in part.state_dict().items()} for part in parts]
