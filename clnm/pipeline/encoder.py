"""The encoder of the embeddings: given weights, or weights learned from train centers' images without outcomes."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clnm.errors import ConfigurationError, writing
from clnm.imaging import cache
from clnm.pipeline.run import Run
from clnm.settings import DeepSettings

MIN_IMAGES = 8
"""Fewer images teach an encoder nothing; embeddings wait until the train centers have as many."""
_SEED = 2025


@dataclass(frozen=True, slots=True)
class Encoder:
    """Weights on disk, and the network they belong to."""

    path: Path
    sha256: str
    backbone: str
    precision: str

    def program_in(self, directory: Path) -> Path:
        """What workers run; made at the first call for these weights."""
        from clnm.features.program import write_program

        with writing("the network's program"):
            return write_program(self.backbone, self.path, directory, precision=self.precision)


def encoder_for(run: Run) -> Encoder | None:
    """The installation's encoder; trained now where none is given and none was trained before.

    None where embeddings are switched off, or the train centers have too few images yet; looking back none is trained.
    """
    installation, deep = run.installation, run.installation.settings.deep
    if not deep.enabled:
        return None
    if deep.weights:
        path = installation.path(deep.weights)
        if not path.is_file():
            raise ConfigurationError(
                "[deep] weights names a file that is not there; give a .safetensors or a torch state dict"
            )
        return _encoder(path, deep)
    kept = installation.store.kept(_name(deep.backbone))
    if kept is not None:
        return _encoder(installation.root / kept, deep)
    return None if run.is_past else _train(run)


def _encoder(path: Path, deep: DeepSettings) -> Encoder:
    return Encoder(path, sha256_of(path), deep.backbone, deep.precision)


def _train(run: Run) -> Encoder | None:
    from clnm.features.crops import crop_roi
    from clnm.features.networks import save_weights
    from clnm.features.pretext import train_encoder

    installation, backbone = run.installation, run.installation.settings.deep.backbone
    rois = installation.store.run_query("encoder_rois", centers=list(installation.train_centers))
    if len(rois) < MIN_IMAGES:
        run.logger.warning("no embeddings yet", images=len(rois), needed=MIN_IMAGES)
        return None
    run.logger.info("train encoder", images=len(rois), backbone=backbone)
    crops = []
    for row in rois:
        with contextlib.suppress(OSError, ValueError, EOFError):  # extraction sets a ROI without its pixels aside
            luminance = cache.read_image(installation.pixels, row["image_key"])
            crops.append(crop_roi(luminance, cache.read_mask(installation.pixels, row["roi_key"]), spacing(row)))
    weights = train_encoder(np.stack(crops), backbone=backbone, seed=_SEED)
    relative = f"models/encoders/{backbone}-{run.run_id}.safetensors"
    path = installation.root / relative
    with writing("the weights of the encoder"):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_weights(weights, path)
    with run.commit() as batch:
        batch.keep(_name(backbone), relative)
    return _encoder(path, installation.settings.deep)


def spacing(row: dict[str, float | None]) -> tuple[float, float] | None:
    """The (x, y) spacing in mm of a query's row; None when unknown."""
    x, y = row["spacing_x_mm"], row["spacing_y_mm"]
    return None if x is None or y is None else (x, y)


def _name(backbone: str) -> str:
    return f"encoder/{backbone}"


def sha256_of(path: Path) -> str:
    """The sum of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
