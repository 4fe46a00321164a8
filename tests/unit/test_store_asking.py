"""`Store.ask`: one question that reads, and nothing else."""

from dataclasses import replace

import duckdb
import pytest

from clnm.errors import StoreError, UserError
from clnm.store.tables import TABLES
from tests.store_rows import LINEAGE, answers, day, open_store, open_writer, table_of, write_night


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Three cases known on day 0 and two on day 5, in a folder whose name needs quoting."""
    store = open_store(tmp_path_factory.mktemp("asked") / "a store's folder")
    write_night(store, range(3), run_id="run-1")
    write_night(store, range(3, 5), known_at=day(5), run_id="run-2")
    return store


def published_file(store, relation="radiomics"):
    return store.root / store.manifest().tables[relation].all_files()[0]


def bytes_of(store):
    return {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("question", "count"),
    [
        ("SELECT case_key FROM cases", 5),
        ("FROM cases", 5),
        ("-- how many?\nFROM cases WHERE age = 50;", 5),
        ("VALUES (1), (2)", 2),
        ("WITH few AS (FROM cases LIMIT 2) FROM few UNION ALL FROM few", 4),
        ("SELECT * FROM range(7)", 7),
        ("FROM cases_as_of(TIMESTAMPTZ '2024-01-02')", 3),
        ("FROM nearest_cases('case-C1-0000')", 4),
        ("SELECT feature FROM features_long", 10),
        ("DESCRIBE worklist", 11),
        ("SUMMARIZE rois", 18),
    ],
)
def test_a_question_that_reads_is_answered(store, question, count):
    assert store.ask(question).num_rows == count


def test_show_tables_lists_every_relation(store):
    names = {name for (name,) in answers(store, "SHOW TABLES")}
    assert set(store.relations()) <= names


@pytest.mark.parametrize(
    "explain", ["EXPLAIN", "EXPLAIN ANALYZE", "EXPLAIN (FORMAT JSON)", "explain (ANALYZE, FORMAT json)"]
)
def test_a_plan_is_told(store, explain):
    [(_, plan)] = answers(store, f"{explain} FROM rois")
    assert "known_at" in plan


OPTIONS = "FORMAT parquet, USE_TMP_FILE false"
WRITES = [
    "COPY (SELECT 1) TO '{file}' ({options})",
    "WITH t AS (COPY (SELECT 1) TO '{file}' ({options})) FROM t",
    "FROM (WITH t AS (COPY (SELECT 1) TO '{file}' ({options})) FROM t)",
    "EXPLAIN ANALYZE WITH t AS (COPY (SELECT 1) TO '{file}' ({options})) FROM t",
    "EXPLAIN ANALYZE (WITH t AS (COPY (SELECT ') SELECT 1 --' AS a) TO '{file}' ({options})) FROM t)",
    "SUMMARIZE WITH t AS (COPY (SELECT 1) TO '{file}' ({options})) FROM t",
    "FROM query('WITH t AS (COPY (SELECT 1) TO ''{file}'' ({options})) FROM t')",
    "ATTACH '{root}/new.db' AS n",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET allowed_paths = []",
    "RESET ALL",
    "PRAGMA enable_profiling",
    "CALL force_checkpoint()",
    "FROM force_checkpoint()",
    "CREATE TABLE t AS SELECT 1",
    "CREATE OR REPLACE VIEW cases AS SELECT 1",
    "DROP VIEW cases",
    "INSERT INTO cases VALUES (1)",
    "DELETE FROM cases",
    "EXPORT DATABASE '{root}/dump'",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY (SELECT 1) TO '{file}'",
    "",
]


@pytest.mark.parametrize("statement", WRITES)
def test_a_statement_that_does_not_only_read_is_refused_and_changes_no_byte(store, statement):
    before = bytes_of(store)
    path, root = (str(place).replace("'", "''") for place in (published_file(store), store.root))
    with pytest.raises(UserError) as refusal:
        store.ask(statement.format(file=path, root=root, options=OPTIONS))
    assert refusal.value.exit_code == 2
    assert bytes_of(store) == before


@pytest.mark.parametrize(
    "question",
    [
        "FROM read_csv('{file}')",
        "FROM read_text('{file}')",
        "FROM read_blob('{file}')",
        "FROM read_parquet('{file}')",
        "FROM '{file}'",
        "FROM glob('{file}')",
        "FROM sniff_csv('{file}')",
        "FROM parquet_metadata('{file}')",
        "FROM read_duckdb('{file}')",
        "SELECT (FROM read_text('{file}') SELECT content)",
    ],
)
def test_a_file_outside_the_store_cannot_be_read(store, tmp_path, question):
    outside = tmp_path / "secret.csv"
    outside.write_text("name\nsecret word\n", encoding="utf-8")
    with pytest.raises(UserError) as refusal:
        store.ask(question.format(file=outside))
    assert "secret word" not in str(refusal.value)


def test_a_file_of_the_private_part_cannot_be_read(store):
    private = store.root / "private" / "ledger.csv"
    private.parent.mkdir(exist_ok=True)
    private.write_text("path\nsecret word\n", encoding="utf-8")
    quoted = str(private).replace("'", "''")
    with pytest.raises(UserError) as refusal:
        store.ask(f"FROM '{quoted}'")
    assert "secret word" not in str(refusal.value)


@pytest.mark.parametrize(
    ("question", "hint"),
    [
        ("FROM casse", 'Did you mean "cases"?'),
        ("SELECT csae_key FROM cases", '"case_key"'),
        ("SELECT cuont(*) FROM cases", 'Did you mean "count"?'),
        ("SELECT 1 +", "syntax error"),
        ("FROM manifest", "does not exist"),
    ],
)
def test_a_mistake_is_answered_with_the_nearest_name(store, question, hint):
    """`manifest` is also the name of a variable of ours: nothing of the process can be asked."""
    with pytest.raises(UserError) as mistake:
        store.ask(question)
    assert hint in str(mistake.value)
    assert mistake.value.exit_code == 2


def test_as_of_hides_what_was_not_known_then(store):
    assert answers(store, "SELECT count(*) FROM cases", as_of=day(2)) == [(3,)]
    assert answers(store, "SELECT count(*) FROM cases", as_of=day(5)) == [(5,)]
    assert answers(store, "SELECT count(*) FROM cases", as_of=day(-1)) == [(0,)]
    assert answers(store, "SELECT count(*) FROM runs", as_of=day(2)) == [(1,)]
    assert answers(store, "SELECT count(DISTINCT roi_key) FROM features_long", as_of=day(2)) == [(3,)]


def test_as_of_hides_what_a_later_run_wrote_that_has_not_ended(tmp_path):
    """Its name says when it began; a run that looks back sees its own rows, whenever that is."""
    store = open_store(tmp_path)
    write_night(store, [0])
    run_id = f"{day(10):%Y%m%dT%H%M%S}-abcdef"
    with open_writer(store, run_id) as writer, writer.commit(replace(LINEAGE, run_id=run_id)) as batch:
        batch.append("drift", table_of("drift", [{"center": "C1"}]))
    counts = [answers(store, "SELECT count(*) FROM drift", as_of=day(number)) for number in (9, 10)]
    assert counts == [[(0,)], [(1,)]]
    assert store.looking_back(day(9), run_id).run_query("latest_drift") != []
    assert store.looking_back(day(9), "another").run_query("latest_drift") == []


def test_as_of_hides_a_change_of_state_that_came_later(tmp_path):
    """An alert raised on day 0 and resolved on day 5 was open on day 2; a champion of day 5 was none."""
    store = open_store(tmp_path)
    alert = {"alert_key": "a", "first_raised_at": day(0), "last_raised_at": day(0), "resolved_at": None}
    model = {"model_version": "m", "trained_at": day(0), "status": "challenger"}
    for moment, run_id, is_later in ((day(0), "run-1", False), (day(5), "run-2", True)):
        changed = {"resolved_at": day(5)} if is_later else {}
        status = {"status": "champion"} if is_later else {}
        run = {"started_at": moment, "finished_at": moment}
        with open_writer(store, run_id) as writer, writer.commit(replace(LINEAGE, run_id=run_id)) as batch:
            batch.append("alerts", table_of("alerts", [alert | changed]))
            batch.append("model_versions", table_of("model_versions", [model | status]))
            batch.append("evaluations", table_of("evaluations", [{"model_version": run_id}]))
            batch.append("runs", table_of("runs", [run]))
    assert answers(store, "SELECT resolved_at FROM alerts", as_of=day(2)) == [(None,)]
    assert answers(store, "SELECT resolved_at FROM alerts") == [(day(5),)]
    assert answers(store, "SELECT status FROM model_versions", as_of=day(2)) == [("challenger",)]
    assert answers(store, "SELECT status FROM model_versions") == [("champion",)]
    assert answers(store, "SELECT model_version FROM evaluations", as_of=day(2)) == [("run-1",)]


def test_an_empty_store_answers_every_relation_with_no_row(tmp_path):
    store = open_store(tmp_path)
    names = [name for name in store.relations() if name != "data_dictionary"]
    assert set(TABLES) <= set(names)
    assert {name: store.ask(f"FROM {name}").num_rows for name in names} == dict.fromkeys(names, 0)
    assert store.ask("FROM data_dictionary").num_rows > 200


def test_there_is_nothing_to_ask_before_the_first_night(tmp_path):
    with pytest.raises(StoreError, match="no store yet"):
        open_store(tmp_path / "nowhere").ask("FROM cases")


@pytest.mark.parametrize("damage", ["gone", "cut", "overwritten"])
def test_a_damaged_file_is_the_stores_fault_and_not_the_questions(tmp_path, damage):
    store = open_store(tmp_path)
    write_night(store, range(2))
    path = published_file(store)
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.write_bytes(b"x" * path.stat().st_size)
    for ask in (
        lambda: store.ask("FROM radiomics"),
        lambda: open_store(tmp_path).table("training_frame", as_of=day(9)),
    ):
        with pytest.raises(StoreError, match="clnm store verify") as error:
            ask()
        assert error.value.exit_code == 14
        assert isinstance(error.value.__cause__, duckdb.Error)


def test_no_question_leaves_the_store_open_for_writing(store):
    """The answer's session is closed: a writer can begin at once."""
    store.ask("FROM cases")
    with open_writer(store, "run-3") as writer:
        assert not writer.is_changed
