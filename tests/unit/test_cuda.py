"""On a CUDA device: the processor's embeddings, alone or in a batch, and also where the device is full."""

import numpy as np
import pytest
import torch

from clnm.features.crops import SIZE_PX
from clnm.features.deep import embed
from clnm.features.networks import BACKBONES, build, save_weights
from clnm.features.program import load_program, write_program

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")


@pytest.fixture(scope="module")
def crops():
    grains = torch.rand(13, 1, SIZE_PX // 4, SIZE_PX // 4, generator=torch.Generator().manual_seed(4))
    return torch.nn.functional.interpolate(grains, size=SIZE_PX, mode="bilinear")[:, 0].numpy()


@pytest.fixture(scope="module", params=BACKBONES)
def network(request, tmp_path_factory):
    """A backbone's name, and random weights of it on disk."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / f"{request.param}.safetensors"
    save_weights(build(request.param).state_dict(), path)
    return request.param, path


@pytest.fixture(scope="module")
def program(network):
    backbone, weights = network
    return write_program(backbone, weights, weights.parent / "float32")


def cosine_distance(one, other):
    return 1 - (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def test_a_device_embeds_as_the_processor_does(crops, program):
    on_device, on_processor = embed(crops, program, device="cuda"), embed(crops, program, device="cpu")
    np.testing.assert_allclose(on_device, on_processor, rtol=1e-5, atol=1e-5 * np.abs(on_processor).max())
    assert np.array_equal(on_device, embed(crops, program))


def test_a_crop_has_the_same_embedding_alone_and_in_a_batch(crops, program):
    together = embed(crops, program, device="cuda")
    alone = np.concatenate([embed(crop[None], program, device="cuda") for crop in crops])
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_in_bfloat16_an_embedding_points_the_same_way(crops, network, program):
    backbone, weights = network
    rounded = write_program(backbone, weights, weights.parent / "bfloat16", precision="bfloat16")
    assert (cosine_distance(embed(crops, rounded, device="cuda"), embed(crops, program, device="cuda")) < 1e-3).all()


def test_where_the_device_is_full_the_processor_embeds(crops, program):
    load_program.cache_clear()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-6)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            embed(crops, program, device="cuda")
        assert np.array_equal(embed(crops, program), embed(crops, program, device="cpu"))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
