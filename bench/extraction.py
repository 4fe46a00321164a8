"""Extraction end to end (decode, radiomics, embedding, commit) beside the sum of its parts, on one and two workers.

Two figures: `extract` alone, of an archive that was taken in, and `ingest` and `extract` as the night runs them, where
what workers import is read while files are decoded. Each from the opening of the run, start of the workers included, of
which the parts alone know nothing; one process's parts, one worker and two in every round, ratios within it.

Run: python bench/extraction.py [cases]
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ[threads] = "1"
sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: a file in it is named radiomics

import numpy as np
import psutil
import torch

from clnm import pipeline
from clnm.features.networks import build, save_weights
from clnm.features.parameters import read_parameters
from clnm.features.worker import embed_shard
from clnm.imaging import cache
from clnm.pipeline import extract
from clnm.pipeline.encoder import encoder_for
from clnm.pipeline.run import Run, open_run
from clnm.pipeline.stages import SINGLE, perform_all
from clnm.settings import make_pseudonym_key
from clnm.simulate.archive import simulate_archive
from clnm.simulate.arrivals import date_back

EVERY = 2
ROUNDS = 5


def main() -> None:
    if sys.argv[1:2] == ["stage"]:
        watch = memory_of_workers if sys.argv[4:] == ["memory"] else no_memory
        print(json.dumps(asdict(stage(Path(sys.argv[2]), sys.argv[3], watch))))
        return
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    names = ("distributed", "numba", "torch", "monai", "deltalake", "pyarrow")
    print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        raw = prepare(place / "raw", cases)
        ingested, _ = take_in(raw, place / "ingested")
        rounds = [one_round(raw, ingested, place / str(number)) for number in range(ROUNDS)]
        watched = on_a_cluster(raw, place / "watched", 2, "night", "memory")
    first = rounds[0]
    rois = first.runs["extract", 1].rois
    print(f"\n{rois} ROIs, {first.columns} radiomics columns, resnet18; medians of {ROUNDS} rounds")
    print(f"in one process, over every {EVERY}nd ROI:")
    for part in first.parts:
        print(f"  {part:10} {median(r.parts[part] for r in rounds) * 1e3:6.1f} ms a ROI")
    decoding = median(r.decoding for r in rounds)
    print(f"  {'decode':10} {decoding / rois * 1e3:6.1f} ms a ROI (intake of one center after the other, one worker)")
    for what, name in (("extract", "extract"), ("night", "ingest and extract")):
        for workers in (1, 2):
            tell(name, workers, [(r.alone(what), r.runs[what, workers]) for r in rounds])
        print(f"  two workers against one: {median(r.ratio(what) for r in rounds):.2f}x")
    print(f"a worker's peak memory, in a run of its own: {watched.rss_mib} MiB, {watched.pss_mib} MiB its own share")


@dataclass(frozen=True)
class Round:
    """The parts alone, and the stages on one and two workers, measured one after the other."""

    parts: dict[str, float]
    columns: int
    decoding: float
    runs: dict[tuple[str, int], "Timed"]

    def alone(self, what: str) -> float:
        """Seconds that the parts take without a cluster."""
        extraction = self.runs["extract", 1].rois * sum(self.parts.values())
        return extraction + self.decoding if what == "night" else extraction

    def ratio(self, what: str) -> float:
        return self.runs[what, 1].wall / self.runs[what, 2].wall


def one_round(raw: Path, ingested: Path, place: Path) -> Round:
    """Nothing is deleted in between: ext4 is slow to make files in the minutes after it has deleted thousands."""
    runs = {}
    for what, archive in (("extract", ingested), ("night", raw)):
        for workers in (1, 2):
            runs[what, workers] = on_a_cluster(archive, place / f"{what}-{workers}", workers, what)
    parts, columns = in_one_process(ingested, place / "alone")
    _, decoding = take_in(raw, place / "decoded")
    return Round(parts, columns, decoding, runs)


def tell(name: str, workers: int, runs: list[tuple[float, "Timed"]]) -> None:
    wall, start = (median(getattr(run, value) for _, run in runs) for value in ("wall", "start"))
    share = median(alone / workers / run.wall for alone, run in runs)
    print(
        f"{name}, {workers} worker(s): {wall:6.1f} s, workers there after {start:.1f} s; {runs[0][1].rois / wall:5.1f} "
        f"ROIs/s; {share:.0%} of the speed of its parts"
    )


def prepare(directory: Path, cases: int) -> Path:
    """An archive, and weights whose program is there already; nothing taken in."""
    simulate_archive(directory, patients=cases, seed=7, until=datetime.now(UTC), workers=2)
    date_back(directory / "archives", datetime.now(UTC))
    torch.manual_seed(0)
    save_weights(build("resnet18").state_dict(), directory / "weights.safetensors")
    config = directory / "clnm.toml"
    config.write_text(config.read_text(encoding="utf-8") + '\n[deep]\nweights = "weights.safetensors"\n')
    make_pseudonym_key(directory / "secrets" / "pseudonym.key")
    with open_run(config, command="bench") as run, took("the network made ready, once for its weights"):
        encoder_for(run).program_in(run.installation.programs)
    return directory


def take_in(raw: Path, directory: Path) -> tuple[Path, float]:
    """The same with everything taken in; and how many seconds that took."""
    config = copied(raw, directory, workers=1)
    with took("intake, one worker") as clock:
        pipeline.run_stage(config, "ingest")
    return directory, clock[0]


def in_one_process(ingested: Path, directory: Path) -> tuple[dict[str, float], int]:
    """Mean seconds a ROI of each part, on a sample of all centers; and how many radiomics columns there are."""
    from clnm.features.crops import crop_roi
    from clnm.features.extraction import extract as radiomics

    config = copied(ingested, directory, workers=1)
    spent: dict[str, list[float]] = {"pixels": [], "radiomics": [], "crop": [], "embedding": [], "commit": []}
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
        work = extract.shard_work(run, extractor, extract.feature_set_versions(extractor, encoder), encoder)
        for center in run.centers:
            todo = installation.store.run_query("rois_to_extract", center=center, **everything)[::EVERY]
            done = []
            tasks = [extract.task_of(row, center) for row in todo]
            for task in [tasks[0], *tasks]:  # the first one warms up
                clock = [time.perf_counter()]
                luminance = cache.read_image(extractor.pixels, task.image_key)
                mask = cache.read_mask(extractor.pixels, task.roi_key)
                clock.append(time.perf_counter())
                values, engine = radiomics(luminance, mask, task.spacing_xy_mm, parameters, "fast")
                clock.append(time.perf_counter())
                crop = crop_roi(luminance, mask, task.spacing_xy_mm)
                clock.append(time.perf_counter())
                done.append(extract.Extracted(task, engine, values, crop=crop))
                if len(done) > 1:
                    for part, seconds in zip(spent, np.diff(clock), strict=False):
                        spent[part].append(seconds)
            embed_shard(extractor, done[:1])
            for start in range(1, len(done), extract.SHARD_SIZE):
                clock = [time.perf_counter()]
                shard = embed_shard(extractor, done[start : start + extract.SHARD_SIZE])
                clock.append(time.perf_counter())
                extract.commit_shard(run, center, work.together(shard))
                clock.append(time.perf_counter())
                for part, seconds in zip(("embedding", "commit"), np.diff(clock), strict=True):
                    spent[part] += [seconds / len(shard)] * len(shard)
    return {part: float(np.mean(seconds)) for part, seconds in spent.items()}, len(values)


@dataclass(frozen=True)
class Timed:
    wall: float
    start: float
    rois: int
    rss_mib: int
    pss_mib: int


def on_a_cluster(archive: Path, directory: Path, workers: int, what: str, *more: str) -> Timed:
    """The stage, or both, in a process of its own."""
    config = copied(archive, directory, workers=workers)
    answer = subprocess.run(
        [sys.executable, __file__, "stage", config, what, *more],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    return Timed(**json.loads(answer.stdout))


def stage(config: Path, what: str, watch: Callable[[], AbstractContextManager[dict[str, list[int]]]]) -> Timed:
    """One or both stages, and how much of it went by until the workers were there."""
    began, there = time.perf_counter(), []
    open_cluster = Run.cluster

    def watched(run: Run):
        handle = open_cluster(run)
        there.append(time.perf_counter() - began)
        return handle

    Run.cluster = watched
    with open_run(config, command="bench") as run, watch() as peaks:
        if what == "night":
            perform_all(run, [SINGLE["ingest"]])
        perform_all(run, [SINGLE["extract"]])
        wall = time.perf_counter() - began
    rois = sum(counts["extracted"] for counts in run.counts["extract"].values())
    return Timed(wall, there[0], rois, max(peaks["rss"]), max(peaks["pss"]))


@contextmanager
def no_memory():
    """To look at memory stops the process that is looked at."""
    yield {"rss": [0], "pss": [0]}


@contextmanager
def memory_of_workers():
    """Largest MiB seen of a worker: all of it, and with what it shares with its siblings divided among them."""
    peaks: dict[str, list[int]] = {"rss": [0], "pss": [0]}
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(1.0):
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if "forkserver" in " ".join(process.cmdline()):
                        memory = process.memory_full_info()
                        peaks["rss"].append(memory.rss // 2**20)
                        peaks["pss"].append(memory.pss // 2**20)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peaks
    finally:
        is_over.set()
        watcher.join()


def copied(ingested: Path, directory: Path, *, workers: int) -> Path:
    shutil.copytree(ingested, directory, copy_function=linked_or_copied)
    config = directory / "clnm.toml"
    text = config.read_text(encoding="utf-8").split("\n[compute]")[0]
    config.write_text(f"{text}\n[compute]\nworkers = {workers}\n")
    os.sync()  # what was copied here is not for the run to wait for
    return config


def linked_or_copied(source: str, target: str) -> None:
    """What nobody writes into is there twice at no cost: the disk is not busy with it while the run is timed."""
    if "archives" in Path(source).parts or source.endswith(".npy"):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


@contextmanager
def took(what: str):
    clock = [time.perf_counter()]
    yield clock
    clock[0] = time.perf_counter() - clock[0]
    print(f"{what}: {clock[0]:.1f} s", flush=True)


if __name__ == "__main__":
    main()
