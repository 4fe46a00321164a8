"""Extraction end to end (pixels, radiomics, embedding, commit) beside the sum of its parts, on one and two workers.

Run: python bench/extraction.py [cases]
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
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
from clnm.pipeline.stages import SINGLE, perform_all
from clnm.settings import make_pseudonym_key
from clnm.simulate.archive import simulate_archive

EVERY = 2


def main() -> None:
    if sys.argv[1:2] == ["stage"]:
        print(json.dumps(asdict(stage(Path(sys.argv[2])))))
        return
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    names = ("distributed", "numba", "torch", "monai", "deltalake", "pyarrow")
    print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as folder:
        ingested = prepare(Path(folder) / "ingested", cases)
        parts, columns = in_one_process(ingested, Path(folder) / "alone")
        runs = {workers: on_a_cluster(ingested, Path(folder) / str(workers), workers) for workers in (1, 2)}
    rois = runs[1].rois
    print(f"\n{rois} ROIs, {columns} radiomics columns, resnet18; means in one process over every {EVERY}nd ROI:")
    for part, seconds in parts.items():
        print(f"  {part:10} {seconds * 1e3:6.1f} ms a ROI")
    for workers, run in runs.items():
        whole, without = rois * sum(parts.values()) / workers, run.wall - run.start
        print(
            f"{workers} worker(s): {run.wall:6.1f} s, of which {run.start:.1f} s start; {rois / run.wall:5.1f} ROIs/s; "
            f"the parts alone {whole:.1f} s: {whole / run.wall:.0%} with the start, {whole / without:.0%} without"
        )
    print(f"two workers against one: {runs[1].wall / runs[2].wall:.2f}x with the start, ", end="")
    print(f"{(runs[1].wall - runs[1].start) / (runs[2].wall - runs[2].start):.2f}x without")


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
    with open_run(config, command="bench") as run, took("the network made ready, once for its weights"):
        encoder_for(run).program_in(run.installation.programs)
    return directory


def in_one_process(ingested: Path, directory: Path) -> tuple[dict[str, float], int]:
    """Mean seconds a ROI of each part, on a sample of all centers; and how many radiomics columns there are."""
    from clnm.features.crops import crop_roi
    from clnm.features.extraction import extract as radiomics

    config = copied(ingested, directory, workers=1)
    spent: dict[str, list[float]] = {"pixels": [], "radiomics": [], "embedding": [], "commit": []}
    everything = {
        "radiomics_version": "",
        "deep_version": "",
        "is_backfill": False,
        "started_at": None,
        "as_of": datetime.now(UTC),
        "since": None,
        "until": None,
    }
    with open_run(config, command="bench") as run:
        installation = run.installation
        parameters = read_parameters(installation.path(installation.settings.radiomics.params))
        encoder = encoder_for(run)
        program = encoder.program_in(installation.programs)
        extractor = extract.Extractor(installation.pixels, parameters, "fast", program)
        versions = extract.feature_set_versions(extractor, encoder)
        for center in run.centers:
            todo = installation.store.run_query("rois_to_extract", center=center, **everything)[::EVERY]
            done = []
            for row in [todo[0], *todo]:  # the first one warms up
                clock = [time.perf_counter()]
                luminance = cache.read_image(extractor.pixels, row["image_key"])
                mask = cache.read_mask(extractor.pixels, row["roi_key"])
                clock.append(time.perf_counter())
                values, engine = radiomics(luminance, mask, spacing(row), parameters, "fast")
                clock.append(time.perf_counter())
                crop = crop_roi(luminance, mask, spacing(row))
                done.append(extract.Extracted(row["roi_key"], engine, values, crop=crop))
                if len(done) > 1:
                    for part, seconds in zip(spent, np.diff(clock), strict=False):
                        spent[part].append(seconds)
            rois = {row["roi_key"]: row for row in todo}
            extract.embed_shard(extractor, done[:1])
            for start in range(1, len(done), extract.SHARD_SIZE):
                clock = [time.perf_counter()]
                shard = extract.embed_shard(extractor, done[start : start + extract.SHARD_SIZE])
                clock.append(time.perf_counter())
                extract.commit_shard(run, center, rois, shard, versions=versions, encoder=encoder)
                clock.append(time.perf_counter())
                for part, seconds in zip(("embedding", "commit"), np.diff(clock), strict=True):
                    spent[part] += [seconds / len(shard)] * len(shard)
    return {part: float(np.mean(seconds)) for part, seconds in spent.items()}, len(values)


@dataclass(frozen=True)
class Timed:
    wall: float
    start: float
    rois: int


def on_a_cluster(ingested: Path, directory: Path, workers: int) -> Timed:
    """The stage in a process of its own."""
    config = copied(ingested, directory, workers=workers)
    answer = subprocess.run(
        [sys.executable, __file__, "stage", config], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return Timed(**json.loads(answer.stdout))


def stage(config: Path) -> Timed:
    """Extraction over all centers, and how much of it went by until the workers were there."""
    began = time.perf_counter()
    with open_run(config, command="bench") as run:
        run.cluster()
        start = time.perf_counter() - began
        perform_all(run, [SINGLE["extract"]])
    wall = time.perf_counter() - began
    return Timed(wall, start, sum(counts["extracted"] for counts in run.counts["extract"].values()))


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
