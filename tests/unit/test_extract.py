"""What the driver of an extraction does: how shards are cut, and rows whose ROIs have not the same columns."""

from clnm.features.catalog import FEATURE_SETS, engine_modules, feature_set_version
from clnm.features.worker import feature_names
from clnm.pipeline.extract import SHARD_SIZE, SMALLEST_SHARD, cut_shards


def sizes(count, sharers):
    return [len(shard) for shard in cut_shards(range(count), sharers)]


def test_shards_are_whole_where_more_follows_and_grow_small_towards_the_end():
    assert sizes(70, 1) == [SHARD_SIZE, SHARD_SIZE, 6]
    assert sizes(100, 4) == [32, 24, 16, 8, 8, 8, 4]
    assert sizes(SMALLEST_SHARD - 1, 4) == [SMALLEST_SHARD - 1]
    assert sizes(0, 4) == []


def test_no_roi_is_in_two_shards_or_in_none():
    for count in (1, 7, 8, 9, 31, 32, 33, 100, 1000):
        for sharers in (1, 4, 64):
            assert [roi for shard in cut_shards(range(count), sharers) for roi in shard] == list(range(count))


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
