"""A night whose DL score is a network fine-tuned inside the folds: kept once, and asked for every case."""

import hashlib
import shutil

import pytest
import torch

from clnm import pipeline
from clnm.errors import StoreError
from clnm.features.networks import build, save_weights
from clnm.pipeline.models import promote
from clnm.pipeline.run import open_run
from clnm.pipeline.stages import CHECK, EXTRACT, INGEST, perform_all
from clnm.pipeline.tuning import fine_tuning_for
from tests.flows.test_nightly import SMALLEST, answers, make_installation

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """All that comes before a training."""
    directory = tmp_path_factory.mktemp("tuned")
    config = make_installation(directory, patients=SMALLEST, deep=True)
    torch.manual_seed(3)
    save_weights(build("resnet18").state_dict(), directory / "weights.safetensors")
    deep = '[deep]\nweights = "weights.safetensors"\nfine_tune_epochs = 1\n'
    config.write_text(config.read_text(encoding="utf-8").replace("[deep]\n", deep), encoding="utf-8")
    with open_run(config, command="nightly") as run:
        perform_all(run, (INGEST, EXTRACT, CHECK))
    return config


@pytest.fixture(scope="module")
def untrained(published):
    """Every row of `deep` before the first training."""
    assert answers(published, "SELECT count(*) FROM model_versions") == [(0,)]
    return answers(published, "SELECT * FROM raw_deep ORDER BY ALL")


@pytest.fixture(scope="module")
def night(published, untrained):
    pipeline.nightly(published)
    return published


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


def test_a_training_that_fine_tunes_leaves_every_row_of_deep_as_it_was(night, untrained):
    assert len(untrained) >= SMALLEST
    assert answers(night, "SELECT * FROM raw_deep ORDER BY ALL") == untrained


def test_deep_names_the_checksum_of_the_weights_that_were_given(night):
    sha256 = hashlib.sha256((night.parent / "weights.safetensors").read_bytes()).hexdigest()
    assert answers(night, "SELECT DISTINCT weights_sha256 FROM raw_deep") == [(sha256,)]


def fitted(config):
    """The weights fitted to the first train cases, and the ROIs of those."""
    with open_run(config, command="train") as run:
        frame = run.store.training_frame(run.as_of)
        frame = frame[frame["role"] == "train"].sort_values("case_key")[:24]
        tuning = fine_tuning_for(run, frame)
        return tuning(frame).tuned.state(), list(frame["roi_key"])


def test_a_fold_is_fitted_the_same_where_no_other_case_has_pixels(night, tmp_path):
    """Whatever chooses the epoch is in the fold, too."""
    weights, roi_keys = fitted(night)
    copy = tmp_path / "copy"
    shutil.copytree(night.parent, copy)
    kept = {key for row in answers(night, "SELECT roi_key, image_key FROM rois") if row[0] in roi_keys for key in row}
    others = [path for path in (copy / "store/private/pixels").rglob("*.npy") if path.stem not in kept]
    assert len(others) > len(roi_keys)
    for path in others:
        path.unlink()
    again, same_keys = fitted(copy / night.name)
    assert same_keys == roi_keys
    assert [name for name in weights if not torch.equal(weights[name], again[name])] == []


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
