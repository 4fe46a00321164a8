"""Model bundles: what is saved is what is loaded, to the bit; what was altered, or smuggles code, is refused."""

import hashlib
import json
import pickle

import numpy as np
import pytest

from clnm.errors import StoreError
from clnm.models.fitting import TrainingOptions
from clnm.models.registry import MANIFEST, bundle_files, bundle_sha256, load_bundle, read_manifest, save_bundle
from clnm.models.training import train_models
from tests.unit.cohorts import VARIABLES, cohort, radiomics_columns


@pytest.fixture(scope="module")
def frame():
    return cohort()


@pytest.fixture(scope="module")
def models(frame):
    training = train_models(
        frame,
        outcome="clnm",
        variables=VARIABLES,
        radiomics_columns=radiomics_columns(frame),
        options=TrainingOptions(outer_folds=2, inner_folds=2, score_folds=3, lambda_folds=3),
    )
    return {candidate.algorithm: candidate.model for candidate in training.candidates}


def test_every_algorithm_comes_back_to_the_bit(models, frame, tmp_path):
    assert len(models) == 9
    for name, model in models.items():
        sha256 = save_bundle(model, tmp_path / name, meta={"n_train": 110})
        again = load_bundle(tmp_path / name, sha256=sha256)
        np.testing.assert_array_equal(again.predict(frame), model.predict(frame))
        assert again.threshold == model.threshold
        assert bundle_sha256(bundle_files(again, {"n_train": 110})) == sha256, name


def test_the_same_model_gives_the_same_bytes(models):
    for model in models.values():
        assert bundle_files(model, {"a": 1}) == bundle_files(pickle.loads(pickle.dumps(model)), {"a": 1})


def test_saving_again_changes_nothing_and_another_model_is_refused(models, tmp_path):
    first = save_bundle(models["lr"], tmp_path / "v", meta={})
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "v").iterdir()}
    assert save_bundle(models["lr"], tmp_path / "v", meta={}) == first
    assert before == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "v").iterdir()}
    with pytest.raises(StoreError, match="versions never change"):
        save_bundle(models["svm"], tmp_path / "v", meta={})
    assert [path.name for path in tmp_path.iterdir()] == ["v"]


def test_no_bundle_holds_a_pickle(models):
    for model in models.values():
        for content in bundle_files(model, {}).values():
            assert not content.startswith((b"\x80\x04", b"\x80\x05"))


@pytest.mark.parametrize("name", ["model.json", "estimator", MANIFEST])
def test_an_altered_file_is_refused(models, tmp_path, name):
    sha256 = save_bundle(models["random_forest"], tmp_path / "v", meta={})
    path = tmp_path / "v" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError):
        load_bundle(tmp_path / "v", sha256=sha256)


def test_a_bundle_rewritten_whole_is_refused_by_the_registrys_checksum(models, tmp_path):
    sha256 = save_bundle(models["lr"], tmp_path / "v", meta={})
    described = json.loads((tmp_path / "v" / "model.json").read_bytes())
    described["threshold"] = 0.01
    content = json.dumps(described).encode()
    (tmp_path / "v" / "model.json").write_bytes(content)
    manifest = json.loads((tmp_path / "v" / MANIFEST).read_bytes())
    manifest["files"]["model.json"] = hashlib.sha256(content).hexdigest()
    (tmp_path / "v" / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="does not match its checksum"):
        load_bundle(tmp_path / "v", sha256=sha256)


def rewritten(directory, content):
    """The bundle with another estimator and a manifest that agrees with it."""
    (directory / "estimator").write_bytes(content)
    manifest = json.loads((directory / MANIFEST).read_bytes())
    manifest["files"]["estimator"] = hashlib.sha256(content).hexdigest()
    (directory / MANIFEST).write_text(json.dumps(manifest))


def test_an_estimator_of_an_unlisted_type_is_not_built(models, tmp_path):
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    save_bundle(models["lr"], tmp_path / "v", meta={})
    rewritten(tmp_path / "v", skops.io.dumps(FunctionTransformer(json.dumps)))
    with pytest.raises(StoreError, match="estimator"):
        load_bundle(tmp_path / "v")


def test_a_pickled_estimator_is_not_opened(models, tmp_path):
    save_bundle(models["lr"], tmp_path / "v", meta={})
    rewritten(tmp_path / "v", pickle.dumps(models["lr"].estimator))
    with pytest.raises(StoreError, match="estimator"):
        load_bundle(tmp_path / "v")


def test_a_missing_bundle_or_file_is_a_sentence(models, tmp_path):
    with pytest.raises(StoreError, match="no readable manifest"):
        load_bundle(tmp_path / "nope")
    save_bundle(models["lr"], tmp_path / "v", meta={})
    (tmp_path / "v" / "estimator").unlink()
    with pytest.raises(StoreError, match="lacks its estimator"):
        load_bundle(tmp_path / "v")


def test_a_bundle_kept_by_another_library_version_is_refused(models, tmp_path):
    save_bundle(models["lr"], tmp_path / "v", meta={})
    manifest = json.loads((tmp_path / "v" / MANIFEST).read_bytes())
    manifest["library_version"] = "0.1.2"
    (tmp_path / "v" / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match=r"was kept by scikit-learn 0\.1\.2"):
        load_bundle(tmp_path / "v")


def test_the_manifest_carries_what_it_was_given(models, tmp_path):
    meta = {"training_as_of": "2026-01-31T00:00:00+00:00", "n_train": 144}
    save_bundle(models["lr"], tmp_path / "v", meta=meta)
    assert read_manifest(tmp_path / "v")["meta"] == meta
