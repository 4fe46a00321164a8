"""A night killed while its workers are busy, three times over, ends in the tables of a night that was left alone."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.flows.test_nightly import SMALLEST, answers, make_installation
from tests.watching import files_now

pytestmark = pytest.mark.long

RELATIONS = ("files", "images", "rois", "cases", "clinical", "outcomes", "radiomics", "quarantine", "worklist")
CLOCKS_AND_RUNS = {"run_id", "commit_seq", "model_version"}


def start(config, command="nightly"):
    command = [sys.executable, "-c", "from clnm.cli import main; main()", "--config", config, "--quiet", command]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def content(config, relation):
    """All rows without what names the run and the moment."""
    described = answers(config, f"DESCRIBE {relation}")
    columns = [f'"{name}"' for name, *_ in described if name not in CLOCKS_AND_RUNS and not name.endswith("_at")]
    return sorted(map(repr, answers(config, f"SELECT {', '.join(columns)} FROM {relation}")))


def is_extracting(config):
    return bool(files_now(config.parent / "store", "staging/radiomics/**/*.parquet"))


def wait_until(condition, run):
    while run.poll() is None and not condition():
        time.sleep(0.02)
    assert run.returncode is None, "it ended before it could be killed"


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    directory = tmp_path_factory.mktemp("quiet")
    config = make_installation(directory, patients=SMALLEST)
    shutil.copytree(directory, directory / "to_kill")
    assert start(config).wait() == 0
    return config


@pytest.fixture(scope="module")
def killed(quiet):
    config = quiet.parent / "to_kill" / "clnm.toml"
    store = config.parent / "store"
    conditions = (
        lambda: (store / "manifest.json").exists() and files_now(store, "staging/images/**/*.parquet"),
        lambda: is_extracting(config),
        (store / "tables" / "radiomics" / "_delta_log").is_dir,
    )
    for condition in conditions:
        run = start(config)
        wait_until(condition, run)
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    assert start(config).wait() == 0
    return config


@pytest.mark.parametrize("relation", RELATIONS)
def test_every_relation_is_that_of_a_night_left_alone(quiet, killed, relation):
    rows = content(quiet, relation)
    assert rows or relation == "quarantine"
    assert content(killed, relation) == rows


@pytest.mark.parametrize(
    "question",
    [
        "SELECT algorithm, status, auc_cv, auc_external, threshold FROM model_versions ORDER BY ALL",
        "SELECT case_key, status, reason, probability, prediction, input_hash FROM scores ORDER BY ALL",
    ],
    ids=["model_versions", "scores"],
)
def test_the_models_and_what_they_say_are_the_same(quiet, killed, question):
    assert answers(quiet, question)
    assert answers(killed, question) == answers(quiet, question)


def test_nothing_is_left_waiting(killed):
    assert not list((killed.parent / "store" / "staging").rglob("*.parquet"))
