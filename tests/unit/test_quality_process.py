"""The process of the suites says what the suites say, and nothing depends on it."""

import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from clnm.errors import ConfigurationError
from clnm.quality import suites
from clnm.quality.process import SuiteProcess
from clnm.quality.suites import parse_suite

SUITE = parse_suite(
    "clinical",
    '{"meta": {"query": "q"}, "expectations": [{"type": "expect_column_values_to_be_between", "severity": "critical", '
    '"kwargs": {"column": "y", "max_value": 1}, "meta": {"reason": "r"}}]}',
)
FRAMES = {"C1": pd.DataFrame({"y": [0.5]}), "C2": pd.DataFrame({"y": [2.0]})}


@pytest.fixture
def process():
    process = SuiteProcess()
    yield process
    process.end()


def test_it_answers_as_the_suites_themselves(process):
    assert process._ask(SUITE, FRAMES) == suites.run_suite(SUITE, FRAMES)
    assert [found[0].is_success for found in process.run_suite(SUITE, FRAMES).values()] == [True, False]


def test_a_sentence_for_the_user_comes_from_it_and_it_goes_on(process):
    with pytest.raises(ConfigurationError, match="cannot be computed over"):
        process._ask(SUITE, {"C1": pd.DataFrame({"x": [1.0]})})
    assert process._ask(SUITE, FRAMES) == suites.run_suite(SUITE, FRAMES)


def test_of_a_bug_it_says_nothing_and_the_suites_run_here_say_it(process):
    assert process._ask(SUITE, {"C1": "no frame"}) is None
    with pytest.raises(AttributeError):
        process.run_suite(SUITE, {"C1": "no frame"})
    assert process._ask(SUITE, FRAMES) == suites.run_suite(SUITE, FRAMES)


def test_where_it_was_killed_the_suites_run_here(process):
    process._process.kill()
    process._process.wait()
    assert process._ask(SUITE, FRAMES) is None
    assert process.run_suite(SUITE, FRAMES) == suites.run_suite(SUITE, FRAMES)


def is_there(process_id):
    try:
        state = Path(f"/proc/{process_id}/stat").read_text(encoding="ascii").rpartition(") ")[2][0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked up in /proc")
def test_of_a_killed_night_it_ends_by_itself():
    code = (
        "import os, signal; from clnm.quality.process import SuiteProcess; process = SuiteProcess(); "
        "print(process._process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    assert killed.returncode == -9
    give_up = time.monotonic() + 30
    while is_there(killed.stdout.strip()):
        assert time.monotonic() < give_up
        time.sleep(0.05)
