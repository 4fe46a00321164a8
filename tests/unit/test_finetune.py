"""Fine-tuning: learns what the outcomes say of pictures, repeats itself, and keeps its weights as plain numbers."""

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from clnm.features.crops import SIZE_PX
from clnm.features.finetune import fine_tune, load_fine_tuned
from clnm.features.networks import build, save_weights
from clnm.models.intervals import auc

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    save_weights(build("resnet18").state_dict(), path)
    return path


def pictures(n, seed):
    """Speckle; that of a positive patient is coarser."""
    from scipy import ndimage

    generator = np.random.default_rng(seed)
    outcome = np.arange(n) % 3 == 0
    noise = generator.rayleigh(0.3, (n, SIZE_PX, SIZE_PX))
    smooth = [
        ndimage.gaussian_filter(image, 1.5 if positive else 0.5) for image, positive in zip(noise, outcome, strict=True)
    ]
    return np.clip(smooth, 0, 1).astype(np.float32), outcome, np.array([f"p{i // 2}" for i in range(n)])


def tuned(weights, *, seed=5, epochs=3):
    crops, outcome, patients = pictures(48, 1)
    return fine_tune(crops, outcome, patients, backbone="resnet18", weights=weights, epochs=epochs, seed=seed)


@pytest.fixture(scope="module")
def network(weights):
    return tuned(weights)


def test_it_tells_unseen_pictures_apart(network):
    crops, outcome, _ = pictures(30, 2)
    assert auc(outcome, network.margins(crops)) > 0.9


def test_the_average_training_row_has_margin_zero(network):
    assert network.margins(pictures(48, 1)[0]).mean() == pytest.approx(0, abs=1e-4)


def test_a_picture_has_the_same_margin_alone_and_in_a_batch(network):
    crops, _, _ = pictures(5, 3)
    alone = np.concatenate([network.margins(crop[None]) for crop in crops])
    np.testing.assert_allclose(alone, network.margins(crops), atol=1e-4)


def test_the_same_pictures_and_seed_give_the_same_network(network, weights):
    again, other = tuned(weights), tuned(weights, seed=6)
    crops, _, _ = pictures(5, 3)
    np.testing.assert_array_equal(again.margins(crops), network.margins(crops))
    assert_same_weights(again, network)
    assert not np.allclose(other.margins(crops), network.margins(crops))


def assert_same_weights(left, right):
    left, right = left.state(), right.state()
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


def steps_of(fit):
    """How many optimizer steps it took, and what it returned."""
    steps = []
    hook = register_optimizer_step_post_hook(lambda *_: steps.append(1))
    try:
        return fit(), len(steps)
    finally:
        hook.remove()


def test_three_epochs_in_which_nothing_improves_are_the_last_and_leave_the_start(weights):
    """Grey pictures, half of them positive: no answer but one half for all can be better on the held-out patients."""
    crops, outcome = np.full((40, 32, 32), 0.5, dtype=np.float32), np.arange(40) % 2 == 0

    def fit(epochs):
        patients = np.array([f"p{k}" for k in range(40)])
        return fine_tune(crops, outcome, patients, backbone="resnet18", weights=weights, epochs=epochs, seed=5)

    stopped, steps = steps_of(lambda: fit(50))
    start, none = steps_of(lambda: fit(0))
    assert (steps, none) == (3 * 2, 0)  # 32 rows, 24 at a time
    assert_same_weights(stopped, start)


def test_training_goes_on_while_it_improves(weights):
    crops, outcome, patients = pictures(48, 1)
    small = crops[:, ::2, ::2]
    _, steps = steps_of(
        lambda: fine_tune(small, outcome, patients, backbone="resnet18", weights=weights, epochs=4, seed=5)
    )
    assert steps == 4 * 2


def test_what_is_kept_is_what_was_fitted(network, tmp_path):
    save_weights(network.state(), tmp_path / "tuned.safetensors")
    crops, _, _ = pictures(5, 3)
    kept = load_fine_tuned("resnet18", tmp_path / "tuned.safetensors")
    np.testing.assert_array_equal(kept.margins(crops), network.margins(crops))


def test_before_the_first_epoch_every_margin_is_zero(weights):
    network = tuned(weights, epochs=0)
    np.testing.assert_allclose(network.margins(pictures(24, 1)[0]), 0, atol=1e-6)
