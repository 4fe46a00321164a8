"""The demo as a newcomer runs it: everybody scored, the pictures matter, a second run adds no row."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pytest

from clnm.models.fitting import TrainingOptions
from clnm.models.training import train_models
from clnm.models.zoo import ALGORITHMS
from clnm.pipeline.installation import open_installation
from tests.flows.test_nightly import PER_RUN, answers, row_counts

pytestmark = pytest.mark.long

README = Path(__file__).resolve().parents[2] / "README.md"


def run_demo(directory):
    clnm = Path(sys.executable).with_name("clnm")
    return subprocess.run([clnm, "demo", directory], capture_output=True, text=True, timeout=1200, check=False)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demo")
    return directory / "clnm.toml", run_demo(directory)


def test_it_ends_with_everybody_scored_and_a_report(demo):
    _, result = demo
    assert result.returncode == 0, result.stderr
    assert "214 of 214 cases scored" in result.stdout
    report = re.search(r"^report: (.+)$", result.stdout, re.MULTILINE)
    assert "Not a medical device" in Path(report.group(1)).read_text(encoding="utf-8")
    assert re.search(r"reached / best possible AUC on the external centers: 0\.\d{3} / 0\.\d{3}", result.stdout)


def test_nine_models_and_both_scores_are_told_with_intervals(demo):
    lines = re.findall(r"^[* ] (\w+) +n=\d+ +auc 0\.\d{3} \[0\.\d\d-[01]\.\d\d\]", demo[1].stdout, re.MULTILINE)
    assert sorted(lines) == sorted([*ALGORITHMS, "radiomics_score", "dl_score"])


def test_every_center_has_a_verdict_and_three_at_least_are_stable(demo):
    verdicts = dict(re.findall(r"^center (C\d): (\w+)$", demo[1].stdout, re.MULTILINE))
    assert set(verdicts) == {"C1", "C2", "C3", "C4"}
    assert sum(verdict == "stable" for verdict in verdicts.values()) >= 3
    assert set(verdicts.values()) <= {"stable", "insufficient"}


def test_nothing_but_progress_and_sentences_is_on_stderr(demo):
    noise = [line for line in demo[1].stderr.splitlines() if "Traceback" in line or "Warning" in line]
    assert noise == []


@pytest.fixture(scope="module")
def champion(demo):
    [champion] = open_installation(demo[0]).store.run_query("champion")
    return champion


@pytest.fixture(scope="module")
def learned_from(demo):
    """The training frame, and the features in it that are not fragile."""
    store = open_installation(demo[0]).store
    fragile = {row["feature"] for row in store.run_query("fragile_features")}
    return store.training_frame(datetime.now(UTC)), [name for name in store.feature_names() if name not in fragile]


def train_here(demo, frame, names, algorithm):
    """One algorithm, in this process."""
    settings = open_installation(demo[0]).settings
    return train_models(
        frame,
        outcome=settings.outcome.name,
        variables=settings.variables(),
        radiomics_columns=names,
        options=TrainingOptions(algorithms=(algorithm,)),
    )


def test_one_process_alone_trains_the_champion_that_the_workers_did(demo, champion, learned_from):
    training = train_here(demo, *learned_from, champion["algorithm"])
    [candidate] = training.candidates
    assert (candidate.auc_cv, candidate.threshold) == (champion["auc_cv"], champion["threshold"])


def test_shuffling_the_pictures_among_the_cases_costs_what_they_told(demo, champion, learned_from):
    """A picture's features belong to its case: dealt to others within the same center they are noise."""
    frame, names = learned_from
    columns = [*names, "embedding"]
    shuffled = frame.copy()
    generator = np.random.default_rng(3)
    for rows in frame.groupby("center").indices.values():
        dealt = frame.iloc[generator.permutation(rows)]
        shuffled.iloc[rows, [frame.columns.get_loc(name) for name in columns]] = dealt[columns].to_numpy()
    training = train_here(demo, shuffled, names, champion["algorithm"])
    [without] = [
        row.value
        for row in training.evaluations
        if (row.algorithm, row.cohort, row.center, row.metric) == (champion["algorithm"], "external", "all", "auc")
    ]
    assert champion["auc_external"] - without >= 0.05


QUESTIONS = re.findall(r"```sql\n(.*?)```\n\n```text\n(.*?)\n", README.read_text(encoding="utf-8"), re.DOTALL)


def test_the_readme_asks_five_questions():
    assert len(QUESTIONS) == 5


@pytest.mark.parametrize(("question", "header"), QUESTIONS, ids=lambda text: text.split()[1])
def test_a_plain_client_answers_the_readmes_question_with_the_columns_it_shows(demo, question, header):
    with duckdb.connect(str(demo[0].parent / "store" / "catalog.duckdb"), read_only=True) as connection:
        answer = connection.execute(question)
        assert [column[0] for column in answer.description] == header.split()
        assert answer.fetchall()


def test_the_same_command_again_adds_rows_to_per_run_tables_alone_and_the_catalogue_answers_meanwhile(demo):
    config, _ = demo
    before, asked = row_counts(config), 0
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_demo, config.parent)
        while not running.done():
            assert answers(config, "SELECT count(*) FROM worklist WHERE status = 'scored'") == [(214,)]
            asked += 1
    result, after = running.result(), row_counts(config)
    assert result.returncode == 0, result.stderr
    assert asked > 3
    assert "214 of 214 cases scored" in result.stdout
    assert {name for name in before if before[name] != after[name]} <= PER_RUN
    assert after["runs"] == before["runs"] + 1
