"""Embeddings: the same alone or in a batch, weights that cannot run code, crops that undo unequal spacing."""

import os
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from clnm.errors import ConfigurationError
from clnm.features.crops import PIXEL_MM, SIZE_PX, crop_roi
from clnm.features.deep import embed, is_full
from clnm.features.learning import augment
from clnm.features.networks import BACKBONES, as_input, build, load_network, save_weights
from clnm.features.pretext import train_encoder, vicreg_loss
from clnm.features.program import BATCH, load_program, write_program
from tests.networks import write_weights
from tests.unit.fast_agreement import blob, speckle


@pytest.fixture(scope="module")
def crops():
    return np.stack([crop_roi(speckle(k, (120, 140)), blob(900, k, (120, 140)), (0.1, 0.1)) for k in range(9)])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights("resnet18", tmp_path_factory.mktemp("weights") / "resnet18.safetensors")


@pytest.fixture(scope="module")
def program(weights):
    return write_program("resnet18", weights, weights.parent / "programs")


# --- crops ------------------------------------------------------------------------------------------------------------


def framed(side_px, size_px=900):
    """A white square in a grey picture, and its mask."""
    mask = np.zeros((size_px, size_px), dtype=bool)
    start = (size_px - side_px) // 2
    mask[start : start + side_px, start : start + side_px] = True
    return np.where(mask, 255, 128).astype(np.uint8), mask


@pytest.mark.parametrize("pixel_mm", [0.05, 0.1, 0.2])
def test_a_lesion_has_its_size_in_millimetres_whatever_the_machines_pixels(pixel_mm):
    crop = crop_roi(*framed(round(12 / pixel_mm)), (pixel_mm, pixel_mm))
    assert crop.shape == (SIZE_PX, SIZE_PX)
    inside = np.flatnonzero((crop > 0.75).any(axis=0))
    assert len(inside) == pytest.approx(12 / PIXEL_MM, abs=1)
    assert inside.mean() == pytest.approx((SIZE_PX - 1) / 2, abs=0.5)
    assert crop[0].min() == pytest.approx(128 / 255)  # what is around it


@pytest.mark.parametrize("spacing", [(0.1, 0.1), None])
def test_a_lesion_longer_than_the_field_or_of_unknown_size_fills_it(spacing):
    crop = crop_roi(*framed(500), spacing)
    assert len(np.flatnonzero((crop > 0.75).any(axis=0))) == pytest.approx(SIZE_PX / 1.5, abs=1)
    assert crop.min() > 0.25


def test_unequal_spacing_is_undone_a_circle_stays_a_circle():
    y, x = np.mgrid[:200, :200]
    mask = ((y - 100) * 0.1) ** 2 + ((x - 100) * 0.2) ** 2 < 6.0**2  # a circle of 6 mm on 0.2 x 0.1 mm pixels
    crop = crop_roi(mask.astype(np.uint8) * 255, mask, (0.2, 0.1)) > 0.5
    height, width = np.flatnonzero(crop.any(axis=1)), np.flatnonzero(crop.any(axis=0))
    assert abs(len(height) - len(width)) <= 1
    assert len(height) == pytest.approx(12 / PIXEL_MM, abs=1)


def test_beyond_the_image_a_crop_is_zero_and_gain_stays_visible():
    image, mask = np.full((50, 50), 200, dtype=np.uint8), np.zeros((50, 50), dtype=bool)
    mask[:20, :20] = True
    crop = crop_roi(image, mask, None)
    assert crop[0, 0] == 0.0
    assert crop[-1, -1] == pytest.approx(200 / 255)


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_embeds_as_monai_itself_to_the_bit(backbone, crops, tmp_path):
    path = write_weights(backbone, tmp_path / "weights.safetensors")
    vectors = embed(crops[:2], write_program(backbone, path, tmp_path / "programs"), device="cpu")
    assert vectors.shape == (2, BACKBONES[backbone])
    assert vectors.dtype == np.float32
    with torch.inference_mode():
        network = load_network(backbone, path).to(memory_format=torch.channels_last)
        expected = network(as_input(np.pad(crops[:2], [(0, BATCH - 2), (0, 0), (0, 0)])))[:2]
    np.testing.assert_array_equal(vectors, expected.numpy())
    assert not np.allclose(vectors[0], vectors[1], atol=1e-3)


def test_a_crop_has_the_same_embedding_alone_and_in_a_batch(crops, program):
    together = embed(crops, program, device="cpu")
    alone = np.concatenate([embed(crop[None], program, device="cpu") for crop in crops])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    np.testing.assert_array_equal(alone, embed(crops, program, device="cpu"))
    assert not np.allclose(together[0], together[1], atol=1e-3)


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB."), True),
        (torch.AcceleratorError("CUDA error: out of memory", 2), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_a_device_without_memory_is_told_from_a_mistake(error, is_one):
    assert is_full(error) == is_one


def test_a_worker_embeds_with_neither_monai_nor_the_compiler(crops, program, tmp_path):
    np.save(tmp_path / "crops.npy", crops)
    code = (
        "import sys, numpy as np; from pathlib import Path; from clnm.features.deep import embed; "
        f"np.save({str(tmp_path / 'vectors.npy')!r}, embed(np.load({str(tmp_path / 'crops.npy')!r}), "
        f"Path({str(program)!r}), device='cpu')); "
        "sys.exit(bool({'monai', 'sympy', 'torch._dynamo'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "vectors.npy"), embed(crops, program, device="cpu"), atol=1e-5)


def test_a_program_is_made_once_and_again_where_it_is_damaged_and_only_the_last_is_kept(weights, tmp_path):
    first = write_program("resnet18", weights, tmp_path)
    written = first.stat().st_mtime_ns
    assert write_program("resnet18", weights, tmp_path) == first
    assert first.stat().st_mtime_ns == written
    first.write_bytes(first.read_bytes()[:-1000])
    assert write_program("resnet18", weights, tmp_path) == first
    assert first.stat().st_mtime_ns > written
    other = write_program("resnet18", weights, tmp_path, precision="bfloat16")
    assert list(tmp_path.iterdir()) == [other]


def test_in_bfloat16_an_embedding_points_the_same_way(crops, weights, program, tmp_path):
    exact = embed(crops, program, device="cpu")
    rounded = embed(crops, write_program("resnet18", weights, tmp_path, precision="bfloat16"), device="cpu")
    cosine = (exact * rounded).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rounded, axis=1)
    assert (1 - cosine < 1e-3).all()
    assert not np.array_equal(exact, rounded)


def test_bfloat16_is_refused_for_a_network_whose_embeddings_it_moves(weights, tmp_path):
    state = load_network("resnet18", weights).state_dict()
    state["layer4.0.bn2.bias"] += 1e4  # so large that in bfloat16 nothing is left when it is taken off again
    state["layer4.1.bn2.weight"] *= 0
    state["layer4.1.bn2.bias"] -= 1e4
    save_weights(state, tmp_path / "steep.safetensors")
    with pytest.raises(ConfigurationError, match=r"precision: bfloat16 moves embeddings"):
        write_program("resnet18", tmp_path / "steep.safetensors", tmp_path / "programs", precision="bfloat16")
    assert list((tmp_path / "programs").iterdir()) == []


def test_a_program_can_be_moved_to_another_device(program):
    moved = load_program(program, "meta")
    assert moved(torch.zeros(BATCH, 3, SIZE_PX, SIZE_PX, device="meta")).shape == (BATCH, 512)


def test_a_classifier_in_the_file_is_left_out_and_a_torch_state_dict_is_read(crops, weights, program, tmp_path):
    state = {f"module.{name}": value for name, value in load_network("resnet18", weights).state_dict().items()}
    torch.save({"state_dict": state | {"fc.weight": torch.zeros(1000, 512)}}, tmp_path / "w.pth")
    from_torch = write_program("resnet18", tmp_path / "w.pth", tmp_path / "programs")
    np.testing.assert_array_equal(embed(crops[:1], from_torch, device="cpu"), embed(crops[:1], program, device="cpu"))


@pytest.mark.parametrize(
    ("backbone", "count", "renamed"),
    [
        ("resnet18", 122, lambda name: name),
        ("resnet50", 320, lambda name: name),
        ("densenet121", 727, lambda name: name.replace(".layers.", ".")),
        ("densenet121", 727, lambda name: re.sub(r"\.layers\.(norm|conv)(\d)", r".\1.\2", name)),
    ],
)
def test_weights_named_as_torchvision_names_them_are_read_whole(backbone, count, renamed, tmp_path):
    state = build(backbone).state_dict()
    ends = {"classifier.weight": torch.zeros(5, 1024), "classifier.bias": torch.zeros(5)}
    if backbone.startswith("resnet"):
        ends = {"fc.weight": torch.zeros(5, 512), "fc.bias": torch.zeros(5)}
    published = {renamed(name): value for name, value in state.items()} | ends
    assert len(published) == count  # as many as torchvision's own state dict has
    torch.save(published, tmp_path / "w.pth")
    loaded = load_network(backbone, tmp_path / "w.pth").state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_biases_of_shortcuts_are_read_where_the_file_has_them(tmp_path):
    state = build("resnet18", has_shortcut_biases=True).state_dict()
    torch.save(state, tmp_path / "w.pth")
    loaded = load_network("resnet18", tmp_path / "w.pth").state_dict()
    assert torch.equal(loaded["layer2.0.downsample.0.bias"], state["layer2.0.downsample.0.bias"])


def test_a_deeper_networks_weights_are_not_taken_for_a_shallower_one(tmp_path):
    deeper = build("resnet34").state_dict()
    torch.save(deeper, tmp_path / "w.pth")
    more = len(deeper) - len(build("resnet18").state_dict())
    with pytest.raises(ConfigurationError, match=f"{more} parameters in the file are not of resnet18"):
        load_network("resnet18", tmp_path / "w.pth")


def test_the_same_weights_are_the_same_bytes(weights, tmp_path):
    state = load_network("resnet18", weights).state_dict()
    assert save_weights(state, tmp_path / "a") == save_weights(dict(reversed(state.items())), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path):
    path, trap = tmp_path / "evil.pth", tmp_path / "ran"
    path.write_bytes(pickle.dumps(Payload(trap)))
    with pytest.raises(ConfigurationError, match="no state dict"):
        load_network("resnet18", path)
    torch.save({"x": Payload(trap)}, path)
    with pytest.raises(ConfigurationError, match="no state dict"):
        load_network("resnet18", path)
    assert not trap.exists()


def test_weights_of_another_network_are_refused_by_count(weights):
    with pytest.raises(ConfigurationError, match="parameters of resnet50 are not in the file"):
        load_network("resnet50", weights)
    with pytest.raises(ConfigurationError, match="did you mean 'resnet18'"):
        build("resnet81")


# --- the pretext task -------------------------------------------------------------------------------------------------


def test_vicreg_is_zero_where_views_agree_vary_and_are_uncorrelated():
    base = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert vicreg_loss(base, base).item() == pytest.approx(0.0, abs=1e-6)
    collapsed = torch.ones(4, 2)
    assert vicreg_loss(collapsed, collapsed).item() == pytest.approx(25 * (1 - 0.01), rel=1e-4)


def test_augmentation_never_turns_a_picture_upside_down():
    image = torch.zeros(64, 1, 48, 48)
    image[:, :, :16] = 1.0
    for seed in range(5):
        torch.manual_seed(seed)
        views = augment(image)
        assert (views[:, :, :24].mean(dim=(1, 2, 3)) > views[:, :, 24:].mean(dim=(1, 2, 3))).all()


def test_the_same_crops_and_seed_give_the_same_encoder_and_the_caller_keeps_his_random_state(crops):
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    first = train_encoder(crops[:, ::3, ::3], backbone="resnet18", seed=3, epochs=1)
    assert torch.equal(torch.rand(1), expected)
    again = train_encoder(crops[:, ::3, ::3], backbone="resnet18", seed=3, epochs=1)
    other = train_encoder(crops[:, ::3, ::3], backbone="resnet18", seed=4, epochs=1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
