"""MONAI's two-dimensional networks as feature extractors, and their weights on disk."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clnm.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    import torch

BACKBONES = {"resnet18": 512, "resnet34": 512, "resnet50": 2048, "densenet121": 1024, "efficientnet-b0": 1280}
"""Each network and the length of its embedding."""
_MEAN, _SCALE = 0.25, 0.2
"""Fixed centre and spread of crops on the scale 0 to 1: constants, so that no other image changes an embedding."""
_CLASSIFIER = ("fc.", "classifier.", "class_layers.", "_fc.", "head.")
"""What the last layer is called by those who publish weights, and by our own fine-tuning."""
_SHORTCUT_BIAS = "downsample.0.bias"
_DENSE_LAYER = re.compile(r"(denselayer\d+)\.(norm|conv)\.?(\d)")
"""torchvision's names within a dense layer, in files of today (`norm1`) and of old (`norm.1`)."""


def as_input(crops: np.ndarray) -> Any:
    """(N, S, S) in [0, 1] as a normalised (N, 3, S, S) tensor in channels-last memory."""
    import torch

    tensor = (torch.from_numpy(np.ascontiguousarray(crops, dtype=np.float32)) - _MEAN) / _SCALE
    return tensor[:, None].expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def device_here() -> str:
    """Cuda where there is such a device, else cpu."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def build(backbone: str, *, has_shortcut_biases: bool = False) -> Any:
    """A network from (N, 3, S, S) to (N, D): global average pooled features, no classifier.

    Args:
        backbone: one of `BACKBONES`.
        has_shortcut_biases: of a ResNet: as MONAI's older weights have them, and torchvision's do not.

    Raises:
        ConfigurationError: no such backbone.
    """
    from monai.networks import nets

    if backbone not in BACKBONES:
        raise ConfigurationError(f"[deep] backbone {backbone!r} is not known; {nearest(backbone, BACKBONES)}")
    if backbone.startswith("resnet"):
        make = getattr(nets, backbone)
        return make(
            spatial_dims=2,
            n_input_channels=3,
            conv1_t_stride=2,
            feed_forward=False,
            bias_downsample=has_shortcut_biases,
        )
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

    Layers are named as MONAI names them; ResNets and DenseNets also as torchvision does.

    Raises:
        ConfigurationError: the file is no state dict, or of another network.
    """
    state = {_DENSE_LAYER.sub(r"\1.layers.\2\3", name): value for name, value in _read_state(weights).items()}
    network = build(backbone, has_shortcut_biases=any(name.endswith(_SHORTCUT_BIAS) for name in state))
    own = network.state_dict()
    usable = {name: value for name, value in state.items() if name in own and value.shape == own[name].shape}
    missing = [name for name in own if name not in usable and not name.endswith("num_batches_tracked")]
    if missing:
        raise ConfigurationError(
            f"[deep] weights: {len(missing)} of {len(own)} parameters of {backbone} are not in the file "
            f"(first: {missing[0]}); give weights of this backbone"
        )
    foreign = [name for name in state if name not in own and not name.startswith(_CLASSIFIER)]
    if foreign:
        raise ConfigurationError(
            f"[deep] weights: {len(foreign)} parameters in the file are not of {backbone} (first: {foreign[0]}); "
            "set [deep] backbone to the network they are of"
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
