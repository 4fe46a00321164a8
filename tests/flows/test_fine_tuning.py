"""A night whose DL score is a network fine-tuned inside the folds: kept once, and asked for every case."""

import pytest
import torch

from clnm import pipeline
from clnm.errors import StoreError
from clnm.features.networks import build, save_weights
from clnm.pipeline.models import promote
from tests.flows.test_nightly import answers, make_installation

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tuned")
    config = make_installation(directory, patients=66, deep=True)
    torch.manual_seed(3)
    save_weights(build("resnet18").state_dict(), directory / "weights.safetensors")
    deep = '[deep]\nweights = "weights.safetensors"\nfine_tune_epochs = 1\n'
    config.write_text(config.read_text(encoding="utf-8").replace("[deep]\n", deep), encoding="utf-8")
    pipeline.nightly(config)
    return config


def networks(config):
    return list((config.parent / "store" / "models" / "networks").iterdir())


def test_nine_models_share_one_network(night):
    assert len(networks(night)) == 1
    assert answers(night, "SELECT count(*) FROM model_versions") == [(9,)]


def test_the_network_is_judged_as_the_dl_score(night):
    question = "SELECT cohort, n FROM evaluations WHERE algorithm = 'dl_score' AND metric = 'auc' AND center = 'all'"
    n_train, n_external = answers(night, "SELECT count(*) FILTER (role = 'train'), count(*) FROM cases")[0]
    found = dict(answers(night, question))
    assert set(found) == {"cv", "external"}
    assert 30 < found["cv"] <= n_train < n_external


def test_every_case_is_scored(night):
    assert answers(night, "SELECT DISTINCT status FROM worklist") == [("scored",)]


def test_a_network_that_was_altered_is_not_asked(night):
    [path] = networks(night)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    champion = answers(night, "SELECT model_version FROM model_versions WHERE status = 'champion'")[0][0]
    others = answers(night, f"SELECT model_version FROM model_versions WHERE model_version <> '{champion}'")
    promote(night, others[0][0])
    with pytest.raises(StoreError, match="fine-tuned network is missing or was altered"):
        pipeline.run_stage(night, "score")
    path.write_bytes(content)
    pipeline.run_stage(night, "score")
    assert answers(night, "SELECT DISTINCT model_version, status FROM worklist") == [(others[0][0], "scored")]
