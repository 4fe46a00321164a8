"""A night into a bucket, asked on another machine that has nothing but `clnm.toml`."""

import json
import shutil

import boto3
import pytest

from tests.flows.test_nightly import SMALLEST, answers, make_installation, run_night
from tests.s3_server import S3Server
from tests.unit.test_cli import clnm

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    server = S3Server()
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        boto3.resource("s3").create_bucket(Bucket="clnm-night")
        config = make_installation(tmp_path_factory.mktemp("writing"), patients=SMALLEST)
        text = config.read_text(encoding="utf-8")
        root = '[store]\nroot = "s3://clnm-night/store"\nmirror = "store"\n'
        config.write_text(text.replace('[store]\nroot = "store"\n', root), encoding="utf-8")
        other = tmp_path_factory.mktemp("reading") / "clnm.toml"
        shutil.copy(config, other)
        yield config, run_night(config), other
    server.stop()


def test_the_night_ends_well_and_the_catalogue_of_the_mirror_answers(night):
    config, code, _ = night
    assert code == 0
    assert answers(config, "SELECT status, count(*) FROM worklist GROUP BY 1") == [("scored", SMALLEST)]


def test_another_machine_gets_the_same_answers(night):
    config, _, other = night
    question = "SELECT case_key, probability FROM worklist ORDER BY 1"
    said = clnm("--config", str(other), "sql", question, "--format", "json")
    assert said.returncode == 0, said.stderr
    there = [(row["case_key"], row["probability"]) for row in json.loads(said.stdout)]
    assert there == answers(config, question)


def test_another_machine_promotes_a_model_and_the_night_scores_with_it(night):
    config, _, other = night
    [(challenger,)] = answers(config, "SELECT min(model_version) FROM model_versions WHERE status = 'challenger'")
    assert clnm("--config", str(other), "models", "promote", challenger).returncode == 0
    assert run_night(config) == 0
    assert answers(config, "SELECT DISTINCT model_version FROM worklist") == [(challenger,)]


def test_no_path_and_no_pixel_is_in_the_bucket(night):
    config, _, _ = night
    objects = boto3.resource("s3").Bucket("clnm-night").objects.all()
    content = {item.key: item.get()["Body"].read() for item in objects}
    assert "store/manifest.json" in content
    assert not [name for name, text in content.items() if str(config.parent).encode() in text or name.endswith(".npy")]


def test_a_night_on_a_machine_without_the_private_part_is_refused(night):
    _, _, other = night
    said = clnm("--config", str(other), "ingest")
    assert said.returncode == 14
    assert "private/" in said.stderr
