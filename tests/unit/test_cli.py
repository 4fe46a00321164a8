"""The command line's promises: quick help, an example to paste for each command, sentences and exit codes."""

import csv
import io
import json
import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer

from clnm.cli import asking, models, setting_up, stages, store
from clnm.cli.app import app, parse_moment, table
from clnm.errors import UserError
from clnm.pipeline.asking import write_answer

REGISTERED = (asking, models, setting_up, stages, store)


def clnm(*arguments, cwd=None, env=None):
    return subprocess.run(
        [sys.executable, "-c", "from clnm.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=env,
        timeout=120,
    )


def commands():
    root = typer.main.get_command(app)
    for name, command in root.commands.items():
        if hasattr(command, "commands"):
            yield from ((f"{name} {inner}", leaf) for inner, leaf in command.commands.items())
        else:
            yield name, command


def test_help_answers_in_under_a_second():
    clnm("--help")
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        answer = clnm("--help")
        seconds.append(time.perf_counter() - start)
    assert answer.returncode == 0
    assert min(seconds) < 1.0, seconds


def test_the_shell_completes_a_question_with_the_names_of_relations():
    """Asked as bash asks it (`clnm --install-completion` sets that up)."""
    words = {"_CLNM_COMPLETE": "complete_bash", "COMP_WORDS": 'clnm sql "SELECT 1 FROM run', "COMP_CWORD": "2"}
    program = Path(sys.executable).with_name("clnm")
    answer = subprocess.run([program], capture_output=True, text=True, check=True, env={**os.environ, **words})
    assert answer.stdout.splitlines() == ["SELECT 1 FROM run_costs", "SELECT 1 FROM runs"]


def test_every_command_of_the_contract_is_there():
    names = {name for name, _ in commands()}
    wanted = "init doctor simulate demo ingest extract train score monitor report nightly".split()
    wanted += "status sql deploy serve receive link forget".split()
    wanted += [f"quarantine {verb}" for verb in ("list", "show", "retry")]
    wanted += [f"check {verb}" for verb in ("show", "docs", "release", "drop")]
    wanted += [f"models {verb}" for verb in ("list", "show", "compare", "promote", "rollback")]
    wanted += [f"store {verb}" for verb in ("history", "verify", "catalog", "compact", "vacuum")]
    wanted += [f"store {verb}" for verb in ("export", "backup", "restore")]
    assert set(wanted) <= names


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_help_text_has_one_example_to_paste(name, command):
    examples = re.findall(r"Example: (clnm .+)", command.help or "")
    assert len(examples) == 1, name
    assert name.split()[-1] in examples[0]


def test_no_configuration_is_exit_10_with_a_sentence(tmp_path):
    answer = clnm("status", cwd=tmp_path)
    assert answer.returncode == 10
    assert answer.stderr == "clnm: no clnm.toml here; write one with `clnm init .` or name it with --config\n"
    assert answer.stdout == ""


def test_an_error_is_one_json_object_when_json_is_asked_for(tmp_path):
    answer = clnm("--json", "status", cwd=tmp_path)
    assert answer.returncode == 10
    assert json.loads(answer.stdout)["exit_code"] == 10


def test_wrong_usage_is_exit_2(tmp_path):
    assert clnm("no-such-command", cwd=tmp_path).returncode == 2
    assert clnm("sql", cwd=tmp_path).returncode == 2


def test_init_writes_an_installation_once(tmp_path):
    assert clnm("init", "hospital", cwd=tmp_path).returncode == 0
    assert (tmp_path / "hospital" / "clnm.toml").is_file()
    again = clnm("init", "hospital", cwd=tmp_path)
    assert again.returncode == 10
    assert "nothing was changed" in again.stderr


def test_doctor_names_what_to_mend(tmp_path):
    clnm("init", ".", cwd=tmp_path)
    answer = clnm("doctor", cwd=tmp_path)
    assert answer.returncode == 10
    assert "MEND  center C1: archive C1/0 is not there" in answer.stdout


def test_times_without_a_zone_mean_utc():
    assert parse_moment("2026-01-31T02:00").isoformat() == "2026-01-31T02:00:00+00:00"
    assert parse_moment("2026-01-31T02:00+02:00").isoformat() == "2026-01-31T00:00:00+00:00"


def test_a_table_aligns_numbers_to_the_right():
    assert table(("name", "n"), [("a", 1), ("bb", 10)]) == ["name   n", "a      1", "bb    10"]


def test_an_answer_as_json_has_every_digit_and_null_for_what_is_no_number():
    answer = pa.table(
        {
            "p_value": [1.2345678901234567e-13, float("nan"), None],
            "count": pa.array([3, None, 2**60]),
            "at": pa.array([datetime(2025, 3, 1, 10, 15, tzinfo=UTC), None, None], pa.timestamp("us", "UTC")),
            "embedding": [[0.1, float("inf")], [], None],
        }
    )
    stream = io.StringIO()
    write_answer(answer, "json", None, stream)
    first, second, third = json.loads(stream.getvalue())
    assert first == {
        "p_value": 1.2345678901234567e-13,
        "count": 3,
        "at": "2025-03-01T10:15:00+00:00",
        "embedding": [0.1, None],
    }
    assert second == {"p_value": None, "count": None, "at": None, "embedding": []}
    assert third["count"] == 2**60


ANSWER = pa.table(
    {
        "center": ["C1", 'C"2, north', None],
        "cases": pa.array([3, None, 2**60]),
        "mean": [0.1, float("nan"), 1.2345678901234567e-13],
        "clnm": [True, None, False],
        "at": pa.array([datetime(2025, 3, 1, 10, 15, tzinfo=UTC), None, None], pa.timestamp("us", "UTC")),
    }
)


def test_an_answer_as_csv_has_every_digit_and_nothing_for_what_is_missing():
    stream = io.StringIO()
    write_answer(ANSWER, "csv", None, stream)
    header, *rows = csv.reader(io.StringIO(stream.getvalue()))
    assert header == ANSWER.column_names
    assert rows == [
        ["C1", "3", "0.1", "True", "2025-03-01 10:15:00+00:00"],
        ['C"2, north', "", "", "", ""],
        ["", str(2**60), repr(1.2345678901234567e-13), "False", ""],
    ]


def test_an_answer_as_a_table_shows_what_is_missing_as_a_dash():
    stream = io.StringIO()
    write_answer(ANSWER, "table", None, stream)
    header, first, second, third = (line.split() for line in stream.getvalue().splitlines())
    assert header == ANSWER.column_names
    assert first == ["C1", "3", "1.000000e-01", "True", "2025-03-01", "10:15"]
    assert second == ['C"2,', "north", "-", "-", "-", "-"]
    assert third[0] == "-"
    assert str(2**60) in third


def test_an_answer_as_parquet_is_the_answer(tmp_path):
    write_answer(ANSWER, "parquet", tmp_path / "answer.parquet", io.StringIO())
    assert pq.read_table(tmp_path / "answer.parquet").to_pylist()[0] == ANSWER.to_pylist()[0]
    assert pq.read_schema(tmp_path / "answer.parquet") == ANSWER.schema


@pytest.mark.parametrize("fmt", ["table", "csv", "json", "parquet"])
def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path, fmt):
    with pytest.raises(UserError, match="cannot be written: (No such file|Is a directory)"):
        write_answer(ANSWER, fmt, tmp_path / "nowhere" / "answer", io.StringIO())
    with pytest.raises(UserError, match="cannot be written: Is a directory"):
        write_answer(ANSWER, fmt, tmp_path, io.StringIO())


def test_parquet_to_a_terminal_is_refused():
    with pytest.raises(UserError, match="needs a file"):
        write_answer(ANSWER, "parquet", None, io.StringIO())
