"""Extraction end to end (pixels, radiomics, embedding, commit) beside the sum of its parts, on one and two workers.

Run: python bench/extraction.py [cases]
"""

import os
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ[threads] = "1"
sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: a file in it is named radiomics

import numpy as np
import torch

from clnm import pipeline
from clnm.features.networks import build, save_weights
from clnm.features.parameters import read_parameters
from clnm.imaging import cache
from clnm.pipeline import extract
from clnm.pipeline.encoder import encoder_for, spacing
from clnm.pipeline.run import open_run
from clnm.settings import make_pseudonym_key
from clnm.simulate.archive import simulate_archive

SAMPLE = 96


def main() -> None:
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    names = ("distributed", "numba", "torch", "monai", "deltalake", "pyarrow")
    print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as folder:
        ingested = prepare(Path(folder) / "ingested", cases)
        parts, columns = in_one_process(ingested, Path(folder) / "alone")
        walls = {workers: on_a_cluster(ingested, Path(folder) / str(workers), workers) for workers in (1, 2)}
    total, rois = sum(parts.values()), walls[1][1]
    print(f"\n{rois} ROIs, {columns} radiomics columns, resnet18, medians of {SAMPLE} in one process:")
    for part, seconds in parts.items():
        print(f"  {part:10} {seconds * 1e3:6.1f} ms a ROI")
    for workers, (wall, _) in walls.items():
        share = rois * total / workers / wall
        print(f"{workers} worker(s): {wall:6.1f} s, {rois / wall:5.1f} ROIs/s, {share:.0%} of the sum of the parts")
    print(f"two workers against one: {walls[1][0] / walls[2][0]:.2f}x (the start of the cluster is in every wall time)")


def prepare(directory: Path, cases: int) -> Path:
    """An archive taken in, and weights; nothing extracted."""
    simulate_archive(directory, patients=cases, seed=7, until=datetime.now(UTC))
    torch.manual_seed(0)
    save_weights(build("resnet18").state_dict(), directory / "weights.safetensors")
    config = directory / "clnm.toml"
    config.write_text(config.read_text(encoding="utf-8") + '\n[deep]\nweights = "weights.safetensors"\n')
    make_pseudonym_key(directory / "secrets" / "pseudonym.key")
    with took("intake"):
        pipeline.run_stage(config, "ingest")
    return directory


def in_one_process(ingested: Path, directory: Path) -> tuple[dict[str, float], int]:
    """Median seconds a ROI of each part, on a sample; and how many radiomics columns there are."""
    from clnm.features.crops import crop_roi
    from clnm.features.deep import embed
    from clnm.features.extraction import extract as radiomics

    config = copied(ingested, directory, workers=1)
    spent: dict[str, list[float]] = {"pixels": [], "radiomics": [], "embedding": [], "commit": []}
    with open_run(config, command="bench") as run:
        installation = run.installation
        parameters = read_parameters(installation.path(installation.settings.radiomics.params))
        extractor = extract.Extractor(installation.pixels, parameters, "fast", encoder_for(run))
        versions = extract.feature_set_versions(extractor)
        center = run.centers[0]
        todo = installation.store.run_query(
            "rois_to_extract",
            center=center,
            radiomics_version="",
            deep_version="",
            is_backfill=False,
            since=None,
            until=None,
        )[: SAMPLE + 1]
        weights, done = directory / "weights.safetensors", []
        for row in todo:
            task = extract.RoiTask(row["roi_key"], row["image_key"], spacing(row), True, True)
            clock = [time.perf_counter()]
            luminance, mask = (
                cache.read_image(extractor.pixels, task.image_key),
                cache.read_mask(extractor.pixels, task.roi_key),
            )
            clock.append(time.perf_counter())
            values, engine = radiomics(luminance, mask, task.spacing_xy_mm, parameters, "fast")
            clock.append(time.perf_counter())
            vector = embed(crop_roi(luminance, mask, task.spacing_xy_mm)[None], weights, backbone="resnet18")[0]
            clock.append(time.perf_counter())
            done.append(extract.Extracted(task.roi_key, engine, values, vector))
            for part, seconds in zip(spent, np.diff(clock), strict=False):
                spent[part].append(seconds)
        rois = {row["roi_key"]: row for row in todo}
        for start in range(1, len(done), extract.SHARD_SIZE):
            began = time.perf_counter()
            shard = done[start : start + extract.SHARD_SIZE]
            extract.commit_shard(run, center, rois, shard, versions=versions, encoder=extractor.encoder)
            spent["commit"].append((time.perf_counter() - began) / len(shard))
    return {part: float(np.median(seconds[1:])) for part, seconds in spent.items()}, len(values)


def on_a_cluster(ingested: Path, directory: Path, workers: int) -> tuple[float, int]:
    """Wall seconds of the stage, and ROIs done."""
    config = copied(ingested, directory, workers=workers)
    with took(f"{workers} worker(s)") as clock:
        counts = pipeline.run_stage(config, "extract")
    done = sum(part["extracted"] for part in counts["stages"]["extract"].values())
    return clock[0], done


def copied(ingested: Path, directory: Path, *, workers: int) -> Path:
    shutil.copytree(ingested, directory)
    config = directory / "clnm.toml"
    config.write_text(config.read_text(encoding="utf-8") + f"\n[compute]\nworkers = {workers}\n")
    return config


@contextmanager
def took(what: str):
    clock = [time.perf_counter()]
    yield clock
    clock[0] = time.perf_counter() - clock[0]
    print(f"{what}: {clock[0]:.1f} s", flush=True)


if __name__ == "__main__":
    main()
