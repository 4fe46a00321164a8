"""On a CUDA device: the processor's embeddings, alone or in a batch, and also where the device is full."""

import gc

import numpy as np
import pytest
import torch

from clnm.features.crops import SIZE_PX
from clnm.features.deep import embed
from clnm.features.networks import BACKBONES
from clnm.features.program import load_program, write_program
from tests.networks import write_weights

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")


@pytest.fixture(scope="module")
def crops():
    grains = torch.rand(13, 1, SIZE_PX // 4, SIZE_PX // 4, generator=torch.Generator().manual_seed(4))
    return torch.nn.functional.interpolate(grains, size=SIZE_PX, mode="bilinear")[:, 0].numpy()


@pytest.fixture(scope="module", params=BACKBONES)
def program(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp(request.param)
    weights = write_weights(request.param, directory / "weights.safetensors")
    return write_program(request.param, weights, directory / "programs")


def cosine_distance(one, other):
    return 1 - (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def test_a_device_embeds_as_the_processor_does(crops, program):
    on_device, on_processor = embed(crops, program, device="cuda"), embed(crops, program, device="cpu")
    assert (cosine_distance(on_device, on_processor) < 1e-6).all()
    np.testing.assert_allclose(on_device, on_processor, atol=1e-4 * np.abs(on_processor).max())
    assert np.array_equal(on_device, embed(crops, program))


def test_a_crop_has_the_same_embedding_alone_and_in_a_batch(crops, program):
    together = embed(crops, program, device="cuda")
    alone = np.concatenate([embed(crop[None], program, device="cuda") for crop in crops])
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_in_bfloat16_an_embedding_points_the_same_way(crops, tmp_path):
    weights = write_weights("resnet18", tmp_path / "weights.safetensors")
    exact, rounded = (
        embed(crops, write_program("resnet18", weights, tmp_path / precision, precision=precision), device="cuda")
        for precision in ("float32", "bfloat16")
    )
    assert (cosine_distance(exact, rounded) < 1e-3).all()


def test_where_the_device_is_full_the_processor_embeds(crops, program):
    load_program.cache_clear()
    gc.collect()
    torch.cuda.empty_cache()  # what torch holds in reserve needs no more of the device
    torch.cuda.set_per_process_memory_fraction(1e-6)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            embed(crops, program, device="cuda")
        assert np.array_equal(embed(crops, program), embed(crops, program, device="cpu"))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
