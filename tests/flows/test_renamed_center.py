"""A hospital gets another name: its patients, their keys and their history go on under the new one."""

from datetime import UTC, datetime, time

import pytest

from clnm import pipeline
from clnm.errors import ConfigurationError
from clnm.pipeline.maintain import verify
from clnm.settings import read_settings
from tests.flows.growing import small_installation
from tests.flows.test_nightly import answers

pytestmark = pytest.mark.long

NOW = datetime.combine(datetime.now(UTC).date(), time(), tzinfo=UTC)
FACTS = ("files", "images", "rois", "cases", "clinical", "outcomes", "radiomics", "quarantine", "centers")
CHANGING = ("center", "role", "run_id", "config_hash", "commit_seq")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Sixteen patients of four centers; one more file of C1 waits for the gate."""
    path = small_installation(tmp_path_factory.mktemp("renaming"), seed=5, until=NOW)
    night(path)
    return path


def night(path):
    for stage in ("ingest", "extract", "check"):
        pipeline.run_stage(path, stage)


def rename(path, old, new, formerly):
    text = path.read_text(encoding="utf-8").replace(f'name = "{old}"', f'name = "{new}"\nformerly = {formerly}')
    path.write_text(text, encoding="utf-8")


def facts(path):
    """Every row without its center and its lineage."""
    return {
        name: answers(path, f"SELECT * EXCLUDE ({', '.join(excluded(path, name))}) FROM {name} ORDER BY ALL")
        for name in FACTS
    }


def excluded(path, name):
    return [column for column, *_ in answers(path, f"DESCRIBE {name}") if column in CHANGING]


def test_nothing_is_new_after_a_center_was_renamed_and_a_known_patient_keeps_the_key(config):
    before, of_c1 = facts(config), answers(config, "SELECT count(*) FROM cases WHERE center = 'C1'")
    assert of_c1[0][0] > 1
    rename(config, "C1", "North", '["C1"]')
    night(config)
    assert facts(config) == before
    assert answers(config, "SELECT count(*) FROM cases WHERE center = 'North'") == of_c1
    assert answers(config, "SELECT count(*) FROM files WHERE center = 'C1'") == [(0,)]
    assert verify(config)["findings"] == []

    table = config.parent / "archives" / "C1" / "clinical.csv"
    head, first, *others = table.read_text(encoding="utf-8").splitlines()
    words = first.split(",")
    words[head.split(",").index("Age at exam")] = "99"
    table.write_text("\n".join([head, ",".join(words), *others]), encoding="utf-8")
    pipeline.run_stage(config, "ingest")
    rename(config, "North", "Nord", '["C1"] # then North')  # what waits for the gate is renamed, too
    config.write_text(config.read_text().replace('["C1"] # then North\nformerly = ["C1"]', '["C1", "North"]'))
    pipeline.run_stage(config, "check")
    assert answers(config, "SELECT center, age FROM clinical QUALIFY known_at = max(known_at) OVER ()") == [
        ("Nord", 99)
    ]
    assert facts(config)["cases"] != before["cases"]
    assert answers(config, "SELECT count(*) FROM cases WHERE center = 'Nord'") == of_c1
    assert verify(config)["findings"] == []


def test_two_histories_do_not_become_one(config):
    text = config.read_text(encoding="utf-8")
    try:
        config.write_text(text.replace('name = "C2"', 'name = "South"'), encoding="utf-8")
        pipeline.run_stage(config, "ingest")
        rename(config, "South", "South", '["C2"]')
        with pytest.raises(ConfigurationError, match="rows of 'C2' and of 'South'; two histories cannot become one"):
            pipeline.run_stage(config, "ingest")
    finally:
        config.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("formerly", ['["C2"]', '["X", "X"]', '["C1"]'])
def test_a_former_name_that_is_anothers_is_refused(config, tmp_path, formerly):
    path = tmp_path / "clnm.toml"
    text = config.read_text(encoding="utf-8")
    path.write_text(text.replace('name = "C3"', f'name = "C3"\nformerly = {formerly}'), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="is or was the name of another center, or stands twice"):
        read_settings(path)
