"""Extraction on a cluster whose workers die: the same rows, bit for bit, and only the guilty ROI set aside."""

import contextlib
import os
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from clnm import pipeline
from clnm.features.networks import build, save_weights
from clnm.pipeline.asking import retry_set_aside
from clnm.pipeline.extract import extract
from clnm.pipeline.run import open_run
from clnm.settings import default_radiomics, make_pseudonym_key
from tests.faults.test_night_kill import start, wait_until
from tests.flows.archives import OF_PICTURES, draw
from tests.flows.growing import one_worker
from tests.flows.test_nightly import answers
from tests.watching import files_now

pytestmark = pytest.mark.long

PICTURES = 56
SETTINGS = f"""{OF_PICTURES}[[center]]
name = "C1"
role = "score"
archive = ["pictures"]
index = "images.csv"
[deep]
weights = "weights.safetensors"
[compute]
workers = 2
memory_per_worker_gib = 1.5
"""


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    directory = tmp_path_factory.mktemp("ingested")
    (directory / "pictures").mkdir()
    generator = np.random.default_rng(11)
    sizes = generator.uniform(60, 90, PICTURES)  # no two masks alike: the gate holds a center with one mask for many
    lines = [
        draw(directory / "pictures", f"p{n:03}", (300, 320), size, generator, day=1 + n % 4)
        for n, size in enumerate(sizes)
    ]
    (directory / "images.csv").write_text("\n".join(["image,mask,patient,acquired_on", *lines]), encoding="utf-8")
    (directory / "radiomics.yaml").write_text(default_radiomics(), encoding="utf-8")
    (directory / "clnm.toml").write_text(SETTINGS, encoding="utf-8")
    make_pseudonym_key(directory / "secrets" / "pseudonym.key")
    torch.manual_seed(3)
    save_weights(build("resnet18").state_dict(), directory / "weights.safetensors")
    pipeline.run_stage(directory / "clnm.toml", "ingest")
    return directory


@pytest.fixture(scope="module")
def quiet(ingested, tmp_path_factory):
    directory = tmp_path_factory.mktemp("quiet") / "copy"
    shutil.copytree(ingested, directory)
    return extracted(directory / "clnm.toml")


def extracted(config):
    """Every radiomics value and embedding after extraction, by ROI; no ROI twice in what was written."""
    pipeline.run_stage(config, "extract")
    pipeline.run_stage(config, "check")
    for written in ("raw_radiomics", "raw_deep"):
        assert answers(config, f"SELECT roi_key FROM {written} GROUP BY ALL HAVING count(*) > 1") == []
    columns = [name for name, *_ in answers(config, "DESCRIBE radiomics") if name.split("_")[-1] not in ("at", "id")]
    chosen = ", ".join(f'radiomics."{name}"' for name in columns if name != "commit_seq")
    return answers(config, f"SELECT {chosen}, embedding FROM radiomics JOIN deep USING (roi_key) ORDER BY roi_key")


def workers():
    """The workers are children of the one process that forks them."""
    return [worker for child in psutil.Process().children() for worker in child.children()]


def kill_a_worker_after_each_commit(staging, is_over, killed):
    """The commit of one shard, while the next ones are computed; by progress, not by the clock of a busy machine."""
    seen = 0
    while not is_over.wait(0.05) and len(killed) < 5:
        commits = len(files_now(staging, "**/*.parquet"))
        if commits > seen:
            seen = commits
            with contextlib.suppress(ValueError, psutil.Error):
                victim = max(workers(), key=lambda worker: sum(worker.cpu_times()[:2]))  # no newcomer: it is at work
                victim.kill()
                killed.append(victim.pid)


def test_workers_killed_while_they_work_lose_and_double_nothing(ingested, quiet, tmp_path):
    directory = tmp_path / "copy"
    shutil.copytree(ingested, directory)
    is_over, killed = threading.Event(), []
    staging = directory / "store" / "staging" / "radiomics"
    killer = threading.Thread(target=kill_a_worker_after_each_commit, args=(staging, is_over, killed))
    killer.start()
    try:
        rows = extracted(directory / "clnm.toml")
    finally:
        is_over.set()
        killer.join()
    assert len(killed) >= 3
    assert len(quiet) == PICTURES
    assert rows == quiet
    assert answers(directory / "clnm.toml", "SELECT * FROM quarantine") == []


def test_a_run_killed_among_its_embeddings_is_finished_by_the_next_without_a_difference(ingested, quiet, tmp_path):
    config = tmp_path / "copy" / "clnm.toml"
    shutil.copytree(ingested, config.parent)
    run = start(config, "extract")
    staged = config.parent / "store" / "staging" / "deep"
    wait_until(lambda: len(files_now(staged, "**/*.parquet")) > 1, run)  # the first of them is committed
    run.kill()
    run.wait()
    rows = extracted(config)
    assert rows == quiet
    by_run = answers(config, "SELECT count(*) FROM raw_deep GROUP BY computed_at")
    assert len(by_run) == 2
    assert sum(count for (count,) in by_run) == PICTURES


def test_a_roi_too_large_for_its_worker_is_set_aside_and_the_others_are_done(ingested, quiet, tmp_path):
    directory = tmp_path / "copy"
    shutil.copytree(ingested, directory)
    line = draw(directory / "pictures", "huge", (4000, 5000), 1500, np.random.default_rng(5))
    with (directory / "images.csv").open("a", encoding="utf-8") as table:
        table.write(f"\n{line}")
    pipeline.run_stage(directory / "clnm.toml", "ingest")
    assert extracted(directory / "clnm.toml") == quiet
    assert answers(directory / "clnm.toml", "SELECT kind, reason FROM quarantine") == [("roi", "memory")]


def test_pixels_that_cannot_be_read_set_their_roi_aside_until_its_file_was_read_again(
    ingested, quiet, tmp_path, monkeypatch
):
    monkeypatch.setattr("clnm.pipeline.extract.TIME_LIMIT_SECONDS", 2.0)
    config = tmp_path / "copy" / "clnm.toml"
    shutil.copytree(ingested, config.parent)
    pipeline.run_stage(config, "check")
    kept = {path.stem: path for path in (config.parent / "store" / "private" / "pixels").rglob("*.npy")}
    gone, cut, endless = answers(config, "SELECT roi_key, image_key FROM rois ORDER BY roi_key LIMIT 3")
    kept[gone[1]].unlink()
    kept[cut[0]].write_bytes(kept[cut[0]].read_bytes()[:1000])
    kept[endless[1]].unlink()
    os.mkfifo(kept[endless[1]])  # whoever opens it waits for ever
    rows = extracted(config)
    assert len(rows) == PICTURES - 3
    assert set(rows) < set(quiet)
    set_aside = answers(config, "SELECT item_key, reason FROM quarantine WHERE resolved_at IS NULL ORDER BY item_key")
    assert set_aside == [(gone[0], "io_error"), (cut[0], "io_error"), (endless[0], "timeout")]
    retry_set_aside(config, None)
    pipeline.run_stage(config, "ingest")
    assert extracted(config) == quiet
    assert answers(config, "SELECT count(*) FROM quarantine WHERE resolved_at IS NULL") == [(0,)]


def kill_whoever_reads(pipe, is_over, killed):
    """The pipe opens for writing as soon as somebody reads from it; a moment later the kernel tells who that is."""
    while not is_over.wait(0.02):
        try:
            writing = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            continue
        while not (victims := [worker for worker in workers() if holds(worker, pipe)]) and not is_over.wait(0.001):
            pass  # closed now, the pipe would read as an empty file
        for worker in victims:
            worker.kill()
            worker.wait()
            killed.append(worker.pid)
        os.close(writing)


def holds(worker, pipe):
    with contextlib.suppress(OSError):  # gone meanwhile
        return any(os.path.realpath(link) == str(pipe) for link in Path(f"/proc/{worker.pid}/fd").iterdir())
    return False


def test_a_roi_that_kills_whoever_works_on_it_is_set_aside_and_the_others_are_done(ingested, quiet, tmp_path):
    config = tmp_path / "copy" / "clnm.toml"
    shutil.copytree(ingested, config.parent)
    pipeline.run_stage(config, "check")
    kept = {path.stem: path for path in (config.parent / "store" / "private" / "pixels").rglob("*.npy")}
    [(roi_key, image_key)] = answers(config, "SELECT roi_key, image_key FROM rois ORDER BY roi_key LIMIT 1 OFFSET 20")
    kept[image_key].unlink()
    os.mkfifo(kept[image_key])
    is_over, killed = threading.Event(), []
    killer = threading.Thread(target=kill_whoever_reads, args=(kept[image_key], is_over, killed))
    killer.start()
    try:
        rows = extracted(config)
    finally:
        is_over.set()
        killer.join()
    assert len(killed) >= 3  # in its shard, in the halves of it, alone
    assert rows == [row for row in quiet if row[0] != roi_key]
    assert answers(config, "SELECT item_key, reason FROM quarantine") == [(roi_key, "worker_crash")]


def test_other_parameters_are_another_version_and_dates_choose_what_is_computed_again(ingested, tmp_path):
    config = tmp_path / "copy" / "clnm.toml"
    shutil.copytree(ingested, config.parent)
    config.write_text(config.read_text(encoding="utf-8").replace('weights = "weights.safetensors"', "enabled = false"))
    with one_worker() as scheduler:
        config.write_text(config.read_text(encoding="utf-8").replace("workers = 2", f'scheduler = "{scheduler}"'))
        recompute(config)


def recompute(config):
    parameters = config.parent / "radiomics.yaml"
    parameters.write_text("imageType: {Original: {}}\nfeatureClass: {glcm: }\nsetting: {binCount: 32}\n")

    def contrasts(**how):
        with open_run(config, command="extract") as run:
            extract(run, **how)
            done = run.counts["extract"]["C1"]["extracted"]
        pipeline.run_stage(config, "check")
        question = "SELECT roi_key, original_glcm_Contrast FROM radiomics ORDER BY roi_key"
        return done, dict(answers(config, question))

    assert contrasts()[0] == PICTURES
    before = contrasts()
    assert before[0] == 0
    parameters.write_text(parameters.read_text().replace("32", "16"))
    done, after = contrasts()
    assert done == PICTURES
    assert all(after[roi_key] < value for roi_key, value in before[1].items())  # fewer levels, smaller steps
    assert answers(config, "SELECT count(DISTINCT feature_set_version) FROM radiomics") == [(1,)]
    assert contrasts() == (0, after)

    second, third = datetime(2025, 3, 2, tzinfo=UTC), datetime(2025, 3, 3, tzinfo=UTC)
    again = pipeline.Backfill(since=second, until=third)
    assert contrasts(backfill=again) == (PICTURES // 4, after)
    twice = "SELECT DISTINCT acquired_at FROM raw_radiomics GROUP BY roi_key, acquired_at HAVING count(*) > 2"
    assert answers(config, twice) == [(second,)]
