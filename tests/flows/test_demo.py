"""The demo as a newcomer runs it, through the flow: everybody scored, the pictures matter, the second time is nothing new."""

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from clnm.models.training import train_models
from clnm.pipeline.installation import open_installation
from tests.flows.test_nightly import PER_RUN, answers, row_counts

pytestmark = pytest.mark.long


def run_demo(directory):
    clnm = Path(sys.executable).with_name("clnm")
    return subprocess.run([clnm, "demo", directory], capture_output=True, text=True, timeout=1200, check=False)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demo")
    return directory / "clnm.toml", run_demo(directory)


def test_it_ends_with_everybody_scored_and_a_report(demo):
    _config, result = demo
    assert result.returncode == 0, result.stderr
    assert "214 of 214 cases scored" in result.stdout
    report = re.search(r"^report: (.+)$", result.stdout, re.MULTILINE)
    assert "Not a medical device" in Path(report.group(1)).read_text(encoding="utf-8")
    assert re.search(r"reached / best possible AUC on the external centers: 0\.\d{3} / 0\.\d{3}", result.stdout)


def test_nine_models_are_told_with_intervals(demo):
    lines = re.findall(r"^[* ] (\w+) +n=70 +auc 0\.\d{3} \[0\.\d\d-[01]\.\d\d\]", demo[1].stdout, re.MULTILINE)
    assert len(set(lines)) == len(lines) == 9


def test_every_center_has_a_verdict_and_three_at_least_are_stable(demo):
    verdicts = dict(re.findall(r"^center (C\d): (\w+)$", demo[1].stdout, re.MULTILINE))
    assert set(verdicts) == {"C1", "C2", "C3", "C4"}
    assert sum(verdict == "stable" for verdict in verdicts.values()) >= 3
    assert set(verdicts.values()) <= {"stable", "insufficient"}


def test_nothing_but_progress_and_sentences_is_on_stderr(demo):
    noise = [line for line in demo[1].stderr.splitlines() if "Traceback" in line or "Warning" in line]
    assert noise == []


def test_shuffling_the_pictures_among_the_cases_costs_what_they_told(demo):
    """A picture's features belong to its case: dealt to others within the same center they are noise."""
    installation = open_installation(demo[0])
    store, settings = installation.store, installation.settings
    frame = store.training_frame(datetime.now(UTC))
    columns = [*store.feature_names(), "embedding"]
    shuffled = frame.copy()
    generator = np.random.default_rng(3)
    for rows in frame.groupby("center").indices.values():
        dealt = frame.iloc[generator.permutation(rows)]
        shuffled.iloc[rows, [frame.columns.get_loc(name) for name in columns]] = dealt[columns].to_numpy()
    reached, without = (external_auc(part, store, settings) for part in (frame, shuffled))
    assert reached - without >= 0.05


def external_auc(frame, store, settings):
    """Of the champion, which the external centers did not choose."""
    training = train_models(
        frame,
        outcome=settings.outcome.name,
        variables=settings.variables(),
        radiomics_columns=store.feature_names(),
    )
    champion = training.candidates[training.champion].algorithm
    return next(
        row.value
        for row in training.evaluations
        if (row.algorithm, row.cohort, row.center, row.metric) == (champion, "external", "all", "auc")
    )


def test_the_same_command_again_adds_rows_to_per_run_tables_alone(demo):
    config, _ = demo
    before = row_counts(config)
    result = run_demo(config.parent)
    after = row_counts(config)
    assert result.returncode == 0, result.stderr
    assert "214 of 214 cases scored" in result.stdout
    assert {name for name in before if before[name] != after[name]} <= PER_RUN
    assert after["runs"] == before["runs"] + 1


def test_the_catalogue_answers_a_plain_client_while_a_run_goes_on(demo):
    config, _ = demo
    clnm = Path(sys.executable).with_name("clnm")
    run = subprocess.Popen([clnm, "--config", config, "nightly"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    asked = 0
    while run.poll() is None:
        assert answers(config, "SELECT count(*) FROM worklist WHERE status = 'scored'") == [(214,)]
        asked += 1
    assert run.returncode == 0
    assert asked > 3
