"""What the driver of an extraction does: how shards are cut, and rows whose ROIs have not the same columns."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clnm.errors import ConfigurationError
from clnm.features.catalog import FEATURE_SETS, engine_modules, feature_set_version
from clnm.features.extraction import extract
from clnm.features.parameters import Parameters, read_parameters
from clnm.features.worker import Extractor, RoiTask, extract_roi, feature_names, perturb_roi
from clnm.pipeline.extract import SHARD_SIZE, SMALLEST_SHARD, cut_shards
from clnm.settings import default_radiomics
from tests.pixel_cache import fill


def sizes(count, sharers):
    return [part.stop - part.start for part in cut_shards(count, sharers)]


def test_shards_are_whole_where_more_follows_and_grow_small_towards_the_end():
    assert sizes(70, 1) == [SHARD_SIZE, SHARD_SIZE, 6]
    assert sizes(100, 4) == [32, 24, 16, 8, 8, 8, 4]
    assert sizes(SMALLEST_SHARD - 1, 4) == [SMALLEST_SHARD - 1]
    assert sizes(0, 4) == []


def test_no_roi_is_in_two_shards_or_in_none():
    for count in (1, 7, 8, 9, 31, 32, 33, 100, 1000):
        for sharers in (1, 4, 64):
            assert [roi for part in cut_shards(count, sharers) for roi in range(count)[part]] == list(range(count))


def test_a_version_follows_parameters_and_modules_that_make_values_and_nothing_else():
    for name in FEATURE_SETS:
        assert feature_set_version(name, {"a": "1"}) == feature_set_version(name, {"a": "1"})
        assert feature_set_version(name, {"a": "1"}) != feature_set_version(name, {"a": "2"})
    assert set(engine_modules("deep")) == {"crops", "deep", "networks", "program"}
    assert {"fast", "recursive", "firstorder", "radiomics", "extraction"} <= set(engine_modules("radiomics"))
    learning = {"finetune", "learning", "pretext", "robustness", "tuning", "warm", "worker", "catalog"}
    assert not learning & {*engine_modules("deep"), *engine_modules("radiomics")}


def test_a_shard_has_the_features_of_all_its_rois_whichever_is_first():
    small, large = {"x": 1.0}, {"x": 1.0, "y": 2.0}
    assert feature_names([small, large]) == feature_names([large, small]) == ["x", "y"]


def test_a_worker_with_other_code_than_who_asks_computes_nothing():
    extractor = Extractor(Path("nowhere"), Parameters({}, {}, {}), "fast", None)
    task = RoiTask("roi", "image", None, needs_radiomics=True, needs_deep=False)
    assert extract_roi(extractor, task).failure == "io_error"
    with pytest.raises(ConfigurationError, match="a worker runs another clnm than this one"):
        extract_roi(replace(extractor, code="of another version"), task)


def kernels():
    """How many signatures each compiled function has."""
    modules = [module for name, module in sys.modules.items() if name.startswith("clnm.features.")]
    found = {(module.__name__, name): thing for module in modules for name, thing in vars(module).items()}
    return {place: len(thing.signatures) for place, thing in found.items() if hasattr(thing, "nopython_signatures")}


def test_whoever_was_warmed_loads_no_kernel_for_the_first_roi(tmp_path):
    import clnm.features.warm  # noqa: F401 - its import is what is tested

    before = kernels()
    assert len(before) > 20
    (tmp_path / "radiomics.yaml").write_text(default_radiomics(), encoding="utf-8")
    picture = np.random.default_rng(1).integers(1, 255, (90, 120), dtype=np.uint8)
    mask = np.zeros(picture.shape, dtype=bool)
    mask[30:60, 40:90] = True
    assert len(extract(picture, mask, (0.1, 0.1), read_parameters(tmp_path / "radiomics.yaml"), "fast")[0]) == 1497
    assert kernels() == before


def test_how_a_roi_is_perturbed_does_not_depend_on_its_key(tmp_path):
    picture = np.random.default_rng(1).integers(1, 255, (50, 60), dtype=np.uint8)
    mask = np.zeros(picture.shape, dtype=bool)
    mask[15:35, 20:45] = True
    keys = ("k1-one", "k1-other")
    fill(tmp_path, images={f"{key}-image": picture for key in keys}, masks=dict.fromkeys(keys, mask))
    wanted = Parameters({"Original": {}}, {"firstorder": None, "glcm": None}, {"binCount": 32})
    one, other = (
        perturb_roi(
            Extractor(tmp_path, wanted, "fast", None),
            RoiTask(key, f"{key}-image", (0.1, 0.1), needs_radiomics=True, needs_deep=False),
        )[1]
        for key in keys
    )
    assert len(one) > 5
    assert one == other
