"""MONAI's two-dimensional networks as feature extractors, and their weights on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clnm.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    import torch

BACKBONES = {"resnet18": 512, "resnet34": 512, "resnet50": 2048, "densenet121": 1024, "efficientnet-b0": 1280}
"""Each network and the length of its embedding."""


def build(backbone: str) -> Any:
    """A network from (N, 3, S, S) to (N, D): global average pooled features, no classifier.

    Raises:
        ConfigurationError: no such backbone.
    """
    from monai.networks import nets

    if backbone not in BACKBONES:
        raise ConfigurationError(f"[deep] backbone {backbone!r} is not known; {nearest(backbone, BACKBONES)}")
    if backbone.startswith("resnet"):
        make = getattr(nets, backbone)
        return make(spatial_dims=2, n_input_channels=3, conv1_t_stride=2, feed_forward=False)
    import torch

    if backbone == "densenet121":
        network = nets.DenseNet121(spatial_dims=2, in_channels=3, out_channels=1)
        network.class_layers.out = torch.nn.Identity()
        return network
    network = nets.EfficientNetBN("efficientnet-b0", pretrained=False, spatial_dims=2, in_channels=3, num_classes=1)
    network._fc = torch.nn.Identity()  # noqa: SLF001 - MONAI offers no other way to take the classifier off
    return network


def load_network(backbone: str, weights: Path) -> Any:
    """A network in evaluation mode with weights from disk; a classifier in the file is left out.

    Raises:
        ConfigurationError: the file is no state dict, or of another network.
    """
    network = build(backbone)
    state = _read_state(weights)
    own = network.state_dict()
    usable = {name: value for name, value in state.items() if name in own and value.shape == own[name].shape}
    missing = [name for name in own if name not in usable and not name.endswith("num_batches_tracked")]
    if missing:
        raise ConfigurationError(
            f"[deep] weights: {len(missing)} of {len(own)} parameters of {backbone} are not in the file "
            f"(first: {missing[0]}); give weights of this backbone"
        )
    network.load_state_dict(usable, strict=False)
    return network.eval()


def save_weights(state: dict[str, torch.Tensor], path: Path) -> str:
    """Write a state dict as safetensors (same weights, same bytes) by scratch, sync, rename; returns its sha256."""
    import os

    from safetensors.torch import save

    content = save({name: value.contiguous().cpu() for name, value in sorted(state.items())})
    scratch = path.with_name(path.name + ".scratch")
    with scratch.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    scratch.rename(path)
    return hashlib.sha256(content).hexdigest()


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, pickle.UnpicklingError, EOFError):
        raise ConfigurationError(
            "[deep] weights: the file is no state dict; give .safetensors or torch.save(state_dict)"
        ) from None
    if not isinstance(state, dict):
        raise ConfigurationError("[deep] weights: the file holds no state dict; save model.state_dict()")
    state = state.get("state_dict", state)
    return {
        str(name).removeprefix("module."): value for name, value in state.items() if isinstance(value, torch.Tensor)
    }
