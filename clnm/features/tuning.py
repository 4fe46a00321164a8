"""Fine-tuning as an estimator: rows of cases in, margins out; their pixels come from the cache, also on a worker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clnm.imaging import cache

if TYPE_CHECKING:
    import pandas as pd

    from clnm.features.finetune import FineTuned

_SEED = 2025


@dataclass(frozen=True)
class Pixels:
    """What the cache knows of some ROIs."""

    folder: Path
    rois: Mapping[str, tuple[str, tuple[float, float] | None]]
    """By `roi_key`: the `image_key`, and the (x, y) spacing in mm where it is known."""

    def crops(self, roi_keys: Iterable[str | None]) -> list[np.ndarray | None]:
        """The network's input for each ROI, None where its pixels are not there."""
        return [None if key is None or key not in self.rois else self._crop(key) for key in roi_keys]

    def _crop(self, roi_key: str) -> np.ndarray | None:
        from clnm.features.crops import crop_roi

        image_key, spacing_xy_mm = self.rois[roi_key]
        try:
            luminance, mask = cache.read_image(self.folder, image_key), cache.read_mask(self.folder, roi_key)
        except OSError:
            return None
        return crop_roi(luminance, mask, spacing_xy_mm)


@dataclass(frozen=True)
class TunedNetwork:
    """A fine-tuned network and the pixels it can look at."""

    pixels: Pixels
    tuned: FineTuned

    def margins(self, frame: pd.DataFrame) -> np.ndarray:
        """The logit of each row's ROI; NaN where its pixels are not in the cache."""
        crops = self.pixels.crops(frame["roi_key"])
        there = np.array([crop is not None for crop in crops], dtype=bool)
        margins = np.full(len(frame), np.nan)
        if there.any():
            margins[there] = self.tuned.margins(np.stack([crop for crop in crops if crop is not None]))
        return margins


@dataclass(frozen=True)
class FineTuning:
    """Fits a network to the outcomes of some rows: what `clnm.models` calls inside its folds."""

    pixels: Pixels
    outcome: str
    """The column of the answers."""
    backbone: str
    weights: Path
    epochs: int

    def __call__(self, frame: pd.DataFrame) -> TunedNetwork:
        """A network that has seen these rows and no others."""
        from clnm.features.finetune import fine_tune

        crops = self.pixels.crops(frame["roi_key"])
        rows = frame.iloc[[place for place, crop in enumerate(crops) if crop is not None]]
        tuned = fine_tune(
            np.stack([crop for crop in crops if crop is not None]),
            rows[self.outcome].to_numpy(dtype=bool),
            rows["patient_key"].to_numpy(),
            backbone=self.backbone,
            weights=self.weights,
            epochs=self.epochs,
            seed=_SEED,
        )
        return TunedNetwork(self.pixels, tuned)
