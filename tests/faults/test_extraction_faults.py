"""Extraction on a cluster whose workers die: the same rows, bit for bit, and only the guilty ROI set aside."""

import os
import shutil
import threading

import numpy as np
import psutil
import pytest
from PIL import Image

from clnm import pipeline
from clnm.pipeline.asking import retry_set_aside
from clnm.settings import default_radiomics, make_pseudonym_key
from tests.flows.test_nightly import answers

pytestmark = pytest.mark.long

PICTURES = 56
SETTINGS = """
[store]
root = "store"
[pseudonyms]
key_file = "secrets/pseudonym.key"
[outcome]
name = "malignant"
[[center]]
name = "C1"
role = "score"
archive = ["pictures"]
index = "images.csv"
[deep]
enabled = false
[compute]
workers = 2
memory_per_worker_gib = 1.0
"""


def draw(folder, name, shape, radius, generator):
    """A speckle picture, and the mask of an ellipse in its middle; the table's line of both."""
    speckle = generator.rayleigh(40.0, shape).clip(0, 255).astype(np.uint8)
    y, x = np.ogrid[: shape[0], : shape[1]]
    inside = ((y - shape[0] / 2) / radius) ** 2 + ((x - shape[1] / 2) / (1.3 * radius)) ** 2 < 1
    Image.fromarray(speckle).save(folder / f"{name}.png", compress_level=1)
    Image.fromarray(inside.astype(np.uint8) * 255).save(folder / f"{name}_mask.png")
    return f"pictures/{name}.png,pictures/{name}_mask.png,{name},2025-03-01"


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    directory = tmp_path_factory.mktemp("ingested")
    (directory / "pictures").mkdir()
    generator = np.random.default_rng(11)
    sizes = generator.uniform(60, 90, PICTURES)  # no two masks alike: the gate holds a center with one mask for many
    lines = [draw(directory / "pictures", f"p{n:03}", (300, 320), size, generator) for n, size in enumerate(sizes)]
    (directory / "images.csv").write_text("\n".join(["image,mask,patient,acquired_on", *lines]), encoding="utf-8")
    (directory / "radiomics.yaml").write_text(default_radiomics(), encoding="utf-8")
    (directory / "clnm.toml").write_text(SETTINGS, encoding="utf-8")
    make_pseudonym_key(directory / "secrets" / "pseudonym.key")
    pipeline.run_stage(directory / "clnm.toml", "ingest")
    return directory


@pytest.fixture(scope="module")
def quiet(ingested, tmp_path_factory):
    directory = tmp_path_factory.mktemp("quiet") / "copy"
    shutil.copytree(ingested, directory)
    return extracted(directory / "clnm.toml")


def extracted(config):
    """Every radiomics value after extraction, by ROI."""
    pipeline.run_stage(config, "extract")
    pipeline.run_stage(config, "check")
    columns = [name for name, *_ in answers(config, "DESCRIBE radiomics") if name.split("_")[-1] not in ("at", "id")]
    chosen = ", ".join(f'"{name}"' for name in columns if name != "commit_seq")
    return answers(config, f"SELECT {chosen} FROM radiomics ORDER BY roi_key")


def workers():
    """The workers are children of the one process that forks them."""
    return [worker for child in psutil.Process().children() for worker in child.children()]


def kill_a_worker_after_each_commit(staging, is_over, killed):
    """The commit of one shard, while the next ones are computed; by progress, not by the clock of a busy machine."""
    seen = 0
    while not is_over.wait(0.05) and len(killed) < 5:
        commits = len(list(staging.rglob("*.parquet")))
        if commits > seen:
            seen = commits
            for victim in workers()[-1:]:
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
    monkeypatch.setattr("clnm.pipeline.extract.TIME_LIMIT_SECONDS", 5.0)
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
