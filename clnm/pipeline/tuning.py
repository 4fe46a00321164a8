"""Fine-tuned networks of an installation: asked for by its settings, kept by the sum of their weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from clnm.errors import StoreError
from clnm.features.tuning import FineTuning, Pixels, TunedNetwork
from clnm.pipeline.encoder import encoder_for, sha256_of, spacing
from clnm.pipeline.installation import Installation
from clnm.pipeline.run import Run

if TYPE_CHECKING:
    import pandas as pd

SCORE_FOLDS = 5
"""Fewer than a signature has: each fold fits a network, and there are as many again in each outer fold."""


def fine_tuning_for(run: Run, frame: pd.DataFrame) -> FineTuning | None:
    """What the settings ask for, over the ROIs of `frame`.

    None without `[deep] fine_tune_epochs`, or while there is no encoder.
    """
    settings = run.installation.settings
    encoder = encoder_for(run) if settings.deep.enabled and settings.deep.fine_tune_epochs else None
    if encoder is None:
        return None
    pixels = _pixels(run.installation, frame["roi_key"])
    return FineTuning(pixels, settings.outcome.name, encoder.backbone, encoder.path, settings.deep.fine_tune_epochs)


def save_network(installation: Installation, network: TunedNetwork, backbone: str) -> str:
    """Keep the weights under backbone and SHA-256, the name that is returned; nine models share one file."""
    from clnm.features.networks import save_weights

    folder = _folder(installation)
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / "new.safetensors"
    name = f"{backbone}-{save_weights(network.tuned.state(), scratch)}"
    scratch.rename(folder / f"{name}.safetensors")
    return name


def load_network(installation: Installation, name: str, roi_keys: Iterable[str | None]) -> TunedNetwork:
    """The network kept under `name`, to look at some ROIs.

    Raises:
        StoreError: its file is gone or was altered.
    """
    from clnm.features.finetune import load_fine_tuned

    backbone, _, sha256 = name.rpartition("-")
    path = _folder(installation) / f"{name}.safetensors"
    if not path.is_file() or sha256_of(path) != sha256:
        raise StoreError("the champion's fine-tuned network is missing or was altered; `clnm train` makes a new one")
    return TunedNetwork(_pixels(installation, roi_keys), load_fine_tuned(backbone, path))


def _folder(installation: Installation) -> Path:
    return installation.root / "models" / "networks"


def _pixels(installation: Installation, roi_keys: Iterable[str | None]) -> Pixels:
    known = [key for key in roi_keys if isinstance(key, str)]
    rows = installation.store.run_query("roi_pixels", roi_keys=known)
    return Pixels(installation.pixels, {row["roi_key"]: (row["image_key"], spacing(row)) for row in rows})
