"""`catalog.duckdb`: any DuckDB client opens it at any time, every answer is of one state, everything is described."""

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from clnm.store import Store
from clnm.store.tables import TABLES
from clnm.store.warehouse import layer_names, macro_names
from tests.store_rows import answers, day, open_store, write_night

READER = """
import json, sys, threading
import duckdb

def row_counts(path):
    with duckdb.connect(path, read_only=True) as connection:
        question = "SELECT " + ", ".join(f"(SELECT count(*) FROM {name})" for name in sys.argv[2:])
        return connection.execute(question).fetchone()

seen, failures = [], []
threading.Thread(target=sys.stdin.read).start()
is_last = False
while not is_last:
    is_last = threading.active_count() == 1
    try:
        seen.append(row_counts(sys.argv[1]))
    except Exception as error:
        failures.append(str(error))
    if len(seen) == 1:
        print("opened", flush=True)
print(json.dumps({"seen": seen, "failures": failures}))
"""
IN_STEP = ("images", "rois", "radiomics", "deep", "clinical", "outcomes", "cases")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = open_store(tmp_path_factory.mktemp("catalogued") / "store")
    write_night(store, range(3))
    write_night(
        store, range(3, 5), known_at=day(5), run_id="run-2", features=("original_glcm_Contrast", "log-sigma_x_Y")
    )
    return store


def open_catalog(store):
    return duckdb.connect(str(store.root / "catalog.duckdb"), read_only=True)


def asked(store, question):
    """What a client of the catalogue, and not of clnm, is told."""
    with open_catalog(store) as connection:
        return connection.execute(question).fetchall()


@pytest.mark.long
def test_another_process_opens_the_catalogue_again_and_again_while_50_commits_happen(tmp_path):
    store = open_store(tmp_path)
    write_night(store, [0])
    command = [sys.executable, "-c", READER, str(tmp_path / "catalog.duckdb"), *IN_STEP]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout.readline() == "opened\n"
        for night in range(1, 26):  # staged in one commit, published in another
            write_night(store, [night], known_at=day(night), run_id=f"run-{night}")
        told = json.loads(reader.communicate()[0])
    assert told["failures"] == []
    assert len(told["seen"]) >= 3
    assert all(len(set(counts)) == 1 for counts in told["seen"]), "an answer of two states"
    states = [counts[0] for counts in told["seen"]]
    assert states == sorted(states)
    assert (states[0], states[-1]) == (1, 26)


def test_a_session_that_stays_open_keeps_its_state(tmp_path):
    store = open_store(tmp_path)
    write_night(store, [0])
    with open_catalog(store) as connection:
        write_night(store, [1], known_at=day(1), run_id="run-2")
        assert connection.execute("SELECT count(*) FROM cases").fetchone() == (1,)
    assert asked(store, "SELECT count(*) FROM cases") == [(2,)]


def test_the_catalogue_holds_views_and_macros_and_no_row_of_its_own(store):
    assert asked(store, "SELECT count(*) FROM duckdb_tables()") == [(0,)]
    names = {name for layer in ("staging", "views", "marts") for name in layer_names(layer)}
    views = {name for (name,) in asked(store, "SELECT view_name FROM duckdb_views() WHERE NOT internal")}
    assert {name for name in views if not name.startswith("raw_")} == names - set(macro_names())
    assert set(TABLES) <= views
    assert (store.root / "catalog.duckdb").stat().st_size < 2_000_000


def test_the_catalogue_answers_as_clnm_sql_does(store):
    for name in ("cases", "radiomics", "features_long", "worklist", "training_frame(TIMESTAMPTZ '2024-01-03')"):
        question = f"SELECT to_json(t)::VARCHAR FROM {name} AS t ORDER BY ALL"
        wanted = answers(store, question)
        assert asked(store, f"SET TimeZone = 'UTC'; {question}") == wanted, name
        assert wanted


def test_the_command_line_client_answers_from_every_relation_and_macro(store):
    """DuckDB's own program, of another version than the library that wrote the file."""
    names = {name for layer in ("staging", "views", "marts") for name in layer_names(layer)} - set(macro_names())
    counts = ", ".join(f'(SELECT count(*) FROM {name}) AS "{name}"' for name in sorted(names))
    question = f"SELECT {counts}, (SELECT count(*) FROM training_frame(TIMESTAMPTZ '2024-01-03')) AS frame"
    program = Path(sys.executable).with_name("duckdb")
    command = [program, "-readonly", "-json", store.root / "catalog.duckdb", question]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    with open_catalog(store) as connection:
        assert told == connection.sql(question).to_arrow_table().to_pylist()
    assert told[0]["radiomics"] == 5


def test_a_client_writes_nothing_beside_what_it_reads(store):
    """So a share that is mounted read-only is enough."""

    def content():
        return {path: path.stat().st_mtime_ns for path in store.root.rglob("*")}

    before = content()
    with open_catalog(store) as connection:
        connection.execute("SELECT avg(value) FROM features_long").fetchall()
        assert content() == before
    assert content() == before


def test_the_catalogue_opens_under_any_alias(store):
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{store.root / 'catalog.duckdb'}' AS anything (READ_ONLY)")
        assert connection.execute("SELECT count(*) FROM anything.cases").fetchone() == (5,)


def test_every_relation_and_every_column_is_described(store):
    views = asked(store, "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal")
    assert [name for name, comment in views if not comment and name != "raw_built_from"] == []
    macros = asked(
        store,
        "SELECT function_name, comment FROM duckdb_functions() WHERE function_type = 'table_macro' AND NOT internal",
    )
    assert {name for name, _ in macros} == set(macro_names())
    assert [name for name, comment in macros if not comment] == []
    assert asked(store, "FROM data_dictionary WHERE coalesce(comment, '') = ''") == []
    told = {relation for (relation,) in asked(store, "SELECT relation FROM data_dictionary WHERE column_name = '*'")}
    assert {"training_frame(t)", "cases_as_of(t)", "features_as_of(t)", "nearest_cases(wanted_case)"} <= told


def test_a_column_is_described_by_its_own_table(store):
    """`value` means something else in every table that has one."""
    told = dict(asked(store, "SELECT relation, comment FROM data_dictionary WHERE column_name = 'value'"))
    assert told["outcomes"] == "The outcome: true is positive."
    assert told["drift"] == "The statistic."
    assert told["features_long"].startswith("The feature's value")
    [(age,)] = asked(store, "SELECT comment FROM data_dictionary WHERE relation = 'cases' AND column_name = 'age'")
    assert age == "Clinical number, in years."


def test_clnm_sql_tells_the_same_dictionary(store):
    assert answers(store, "FROM data_dictionary") == asked(store, "FROM data_dictionary")


def test_times_are_utc_whatever_the_clients_zone(store):
    question = (
        "SET TimeZone = 'America/New_York'; SELECT min(known_at) = TIMESTAMPTZ '2024-01-01 00:00:00+00' FROM cases"
    )
    assert asked(store, question) == [(True,)]


def test_a_moved_store_says_so_and_a_rebuilt_catalogue_mends_it(tmp_path):
    store = open_store(tmp_path / "here")
    write_night(store, [0])
    store.close()
    (tmp_path / "here").rename(tmp_path / "there")
    moved = open_store(tmp_path / "there")
    with pytest.raises(duckdb.IOException) as error:
        asked(moved, "FROM cases")
    assert "if-moved-run-clnm-store-catalog" in str(error.value)
    assert answers(moved, "SELECT count(*) FROM cases") == [(1,)]  # clnm itself needs no catalogue
    assert moved.rebuild_catalog() == len(moved.relations())
    assert asked(moved, "SELECT count(*) FROM cases") == [(1,)]


def test_the_catalogue_is_the_same_whoever_builds_it_and_leaves_no_scratch(store):
    before = asked(store, "SELECT view_name, sql FROM duckdb_views() WHERE NOT internal ORDER BY 1")
    store.rebuild_catalog()
    assert asked(store, "SELECT view_name, sql FROM duckdb_views() WHERE NOT internal ORDER BY 1") == before
    assert list(store.root.glob("*.scratch*")) == []


EVERYTHING = (
    "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal ORDER BY 1",
    "SELECT view_name, sql FROM duckdb_views() WHERE view_name LIKE 'raw_%' ORDER BY 1",
    "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() WHERE NOT internal ORDER BY ALL",
    "SELECT function_name, comment FROM duckdb_functions() WHERE function_type = 'table_macro' ORDER BY ALL",
)


def test_a_catalogue_that_was_followed_is_the_one_that_a_build_would_make(tmp_path):
    store = open_store(tmp_path)
    write_night(store, [0])
    file = (tmp_path / "catalog.duckdb").stat().st_size
    for number in range(1, 12):
        write_night(store, [number], known_at=day(number), run_id=f"run-{number}")
    followed = [asked(store, question) for question in EVERYTHING]
    assert (tmp_path / "catalog.duckdb").stat().st_size < 3 * file
    store.rebuild_catalog()
    assert followed == [asked(store, question) for question in EVERYTHING]


def test_a_new_column_is_in_the_next_catalogue_with_its_comment(tmp_path):
    store = open_store(tmp_path)
    write_night(store, [0])
    write_night(store, [1], known_at=day(1), run_id="run-2", features=("log-sigma-3-mm-3D_glcm_Contrast",))
    question = "SELECT comment FROM duckdb_columns() WHERE table_name = 'radiomics' AND column_name LIKE 'log%'"
    assert asked(store, question) == [("pyradiomics glcm Contrast of the log-sigma-3-mm-3D image.",)]


@pytest.mark.parametrize("content", [b"", b"no database" * 1000])
def test_a_damaged_catalogue_is_built_anew_by_the_next_commit(tmp_path, content):
    store = open_store(tmp_path)
    write_night(store, [0])
    (tmp_path / "catalog.duckdb").write_bytes(content)
    write_night(store, [1], known_at=day(1), run_id="run-2")
    assert asked(store, "SELECT count(*) FROM cases") == [(2,)]


def test_an_embedding_is_an_array_of_the_backbones_length_and_null_where_it_is_of_another(tmp_path):
    write_night(open_store(tmp_path), [0])
    question = "SELECT typeof(embedding), array_cosine_distance(embedding, [1, 1]::FLOAT[2]) FROM deep"
    store = Store(tmp_path, embedding_size=2)
    store.rebuild_catalog()
    assert asked(store, question) == [("FLOAT[2]", 0.0)]
    store = Store(tmp_path, embedding_size=3)
    store.rebuild_catalog()
    assert asked(store, "SELECT typeof(embedding), embedding FROM deep") == [("FLOAT[3]", None)]
