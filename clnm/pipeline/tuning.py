"""Fine-tuned networks: fitted inside the folds of a training, kept by the sum of their weights, asked when scoring."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clnm.errors import StoreError
from clnm.imaging import cache
from clnm.pipeline.encoder import Encoder, encoder_for, sha256_of, spacing
from clnm.pipeline.installation import Installation
from clnm.pipeline.run import Run

if TYPE_CHECKING:
    import pandas as pd

    from clnm.features.finetune import FineTuned

SCORE_FOLDS = 5
"""Fewer than a signature has: each fold fits a network, and there are as many again in each outer fold."""
_SEED = 2025


@dataclass(frozen=True)
class TunedNetwork:
    """A fine-tuned network and the pixels it can look at."""

    installation: Installation
    tuned: FineTuned

    def margins(self, frame: pd.DataFrame) -> np.ndarray:
        """The logit of each row's ROI; NaN where its pixels are not in the cache."""
        crops = read_crops(self.installation, frame["roi_key"])
        there = np.array([crop is not None for crop in crops], dtype=bool)
        margins = np.full(len(frame), np.nan)
        if there.any():
            margins[there] = self.tuned.margins(np.stack([crop for crop in crops if crop is not None]))
        return margins


@dataclass(frozen=True)
class FineTuning:
    """Fits a network to the outcomes of some rows: what `clnm.models` calls inside its folds."""

    installation: Installation
    encoder: Encoder
    epochs: int

    def __call__(self, frame: pd.DataFrame) -> TunedNetwork:
        """A network that has seen these rows and no others."""
        from clnm.features.finetune import fine_tune

        crops = read_crops(self.installation, frame["roi_key"])
        there = [place for place, crop in enumerate(crops) if crop is not None]
        rows = frame.iloc[there]
        tuned = fine_tune(
            np.stack([crop for crop in crops if crop is not None]),
            rows[self.installation.settings.outcome.name].to_numpy(dtype=bool),
            rows["patient_key"].to_numpy(),
            backbone=self.encoder.backbone,
            weights=self.encoder.path,
            epochs=self.epochs,
            seed=_SEED,
        )
        return TunedNetwork(self.installation, tuned)


def fine_tuning_for(run: Run) -> FineTuning | None:
    """What the settings ask for; None without `[deep] fine_tune_epochs`, or while there is no encoder."""
    deep = run.installation.settings.deep
    encoder = encoder_for(run) if deep.enabled and deep.fine_tune_epochs else None
    return None if encoder is None else FineTuning(run.installation, encoder, deep.fine_tune_epochs)


def save_network(installation: Installation, network: TunedNetwork, backbone: str) -> str:
    """Keep the weights under backbone and SHA-256, the name that is returned; nine models share one file."""
    from clnm.features.networks import save_weights

    folder = _folder(installation)
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / "new.safetensors"
    name = f"{backbone}-{save_weights(network.tuned.state(), scratch)}"
    scratch.rename(folder / f"{name}.safetensors")
    return name


def load_network(installation: Installation, name: str) -> TunedNetwork:
    """The network kept under `name`.

    Raises:
        StoreError: its file is gone or was altered.
    """
    from clnm.features.finetune import load_fine_tuned

    backbone, _, sha256 = name.rpartition("-")
    path = _folder(installation) / f"{name}.safetensors"
    if not path.is_file() or sha256_of(path) != sha256:
        raise StoreError("the champion's fine-tuned network is missing or was altered; `clnm train` makes a new one")
    return TunedNetwork(installation, load_fine_tuned(backbone, path))


def _folder(installation: Installation) -> Path:
    return installation.root / "models" / "networks"


def read_crops(installation: Installation, roi_keys: pd.Series) -> list[np.ndarray | None]:
    """The network's input for each ROI, None where its pixels are not there."""
    from clnm.features.crops import crop_roi

    rows = installation.store.run_query("roi_pixels", roi_keys=[key for key in roi_keys if isinstance(key, str)])
    known = {row["roi_key"]: row for row in rows}
    crops: list[np.ndarray | None] = []
    for key in roi_keys:
        try:
            row = known[key]
            luminance = cache.read_image(installation.pixels, row["image_key"])
            crops.append(crop_roi(luminance, cache.read_mask(installation.pixels, key), spacing(row)))
        except (KeyError, OSError):
            crops.append(None)
    return crops
