"""Weights as training leaves them, without the training."""

import torch

from clnm.features.crops import SIZE_PX
from clnm.features.networks import as_input, build, save_weights


def write_weights(backbone, path):
    """Random weights of a backbone, its batch normalisation fitted to speckle of many sizes.

    Without that a signal dies on its way through an efficientnet, and embeddings agree because they are all zero;
    fitted to one size it may explode at another, and embeddings differ by the rounding of their pixels.
    """
    torch.manual_seed(1)
    network = build(backbone).train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # its statistics are those of the one batch
    with torch.no_grad():
        network(torch.cat([_speckles(grain_px) for grain_px in (1, 2, 4, 8, 16)]))
    save_weights(network.state_dict(), path)
    return path


def _speckles(grain_px):
    grains = torch.rand(8, 1, SIZE_PX // grain_px, SIZE_PX // grain_px)
    return as_input(torch.nn.functional.interpolate(grains, size=SIZE_PX, mode="bilinear")[:, 0].numpy())
