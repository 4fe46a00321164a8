"""docs/sql.md is true: each public relation stands there, and every block runs on an empty store and a filled one."""

import re
from pathlib import Path

import pytest

from clnm.store.tables import TABLES
from clnm.store.warehouse import layer_names, read_sql
from tests.store_rows import open_store, write_night

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = (DOCS / "sql.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)
LAYERS = ("staging", "views", "marts")
RELATIONS = [(layer, name) for layer in LAYERS for name in layer_names(layer)]


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    return open_store(tmp_path_factory.mktemp("empty"))


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    store = open_store(tmp_path_factory.mktemp("filled"))
    write_night(store, range(3))
    return store


@pytest.mark.parametrize("question", BLOCKS, ids=lambda text: " ".join(text.split())[:60])
def test_a_documented_question_runs(empty, filled, question):
    told = empty.ask(question)
    assert told.num_rows == 0 or "data_dictionary" in question
    assert set(told.schema.names) <= set(filled.ask(question).schema.names)  # the filled one has features


@pytest.mark.parametrize(("layer", "name"), RELATIONS, ids=str)
def test_each_public_relation_has_a_section_with_its_grain_and_a_question(layer, name):
    section = re.search(
        rf"^### `{name}(\(\w+\))?`: (one row|the same)[^\n]*\n(.*?)(?=^##|\Z)", TEXT, re.DOTALL | re.MULTILINE
    )
    assert section, f"docs/sql.md has no section on {name}"
    assert re.search(rf"```sql\n[^`]*\b{name}\b", section.group(3))
    assert read_sql(layer, name, outcome="clnm").grain


def test_every_table_is_a_public_relation_too():
    assert set(TABLES) <= {name for _, name in RELATIONS}


def test_the_page_on_the_store_names_what_lies_on_disk(filled):
    page = (DOCS / "store.md").read_text(encoding="utf-8")
    on_disk = {path.name for path in filled.root.iterdir()}
    assert {"manifest.json", "catalog.duckdb", "lock", "tables"} <= on_disk
    assert [name for name in sorted(on_disk) if name not in page] == []
