"""Shards on a real local cluster: whatever happens to a worker, nothing is lost and nothing is done twice."""

import ctypes
import functools
import os
import signal
import time

import pytest

from clnm.cluster import InProcess, Work, open_cluster, run_shards
from clnm.entities import Reason
from clnm.errors import ConfigurationError
from clnm.pipeline.train import run_folds

pytestmark = pytest.mark.long


def same(item):
    return item


def double(item):
    return 2 * item


def crash_on_seven(item):
    if item == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def hang_on_three(item):
    """Sleeps in C and holds the interpreter, so that no Python thread could end it."""
    if item == 3:
        ctypes.PyDLL(None).sleep(3600)
    return item


def eat_memory_on_five(item):
    if item == 5:
        kept = []
        while True:
            kept.append(b"\1" * 2**24)
            time.sleep(0.005)
    return item


def raise_memory_error_on_one(item):
    if item == 1:
        raise MemoryError
    return item


def raise_on_two(item):
    if item == 2:
        raise ZeroDivisionError
    return item


def shards_of(count, size):
    return [list(range(start, min(start + size, count))) for start in range(0, count, size)]


def collect(handle, function, shards, *, limit=60.0):
    results = list(run_shards(handle, Work(function), shards, in_flight=2, time_limit_s=limit))
    return sorted(item for r in results for item in r.done), [f for r in results for f in r.failures]


@pytest.fixture(scope="module")
def handle():
    with open_cluster("local", 1, 1.0) as opened:
        yield opened


def test_results_are_those_of_a_run_in_this_process(handle):
    shards = shards_of(20, 3)
    assert collect(handle, double, shards) == collect(InProcess(), double, shards) == (list(range(0, 40, 2)), [])


@pytest.mark.parametrize(
    ("function", "guilty", "reason", "limit"),
    [
        (hang_on_three, 3, Reason.TIMEOUT, 1.0),
        (eat_memory_on_five, 5, Reason.MEMORY, 60.0),
        (raise_memory_error_on_one, 1, Reason.MEMORY, 60.0),
        (crash_on_seven, 7, Reason.WORKER_CRASH, 60.0),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_guilty_item_is_found_with_its_reason_and_the_others_are_finished(handle, function, guilty, reason, limit):
    done, failures = collect(handle, function, shards_of(8, 4), limit=limit)
    assert done == [item for item in range(8) if item != guilty]
    assert [(failure.item, failure.reason) for failure in failures] == [(guilty, reason)]


def numbered(answers):
    """Each answer with how many there were at once; hangs where the third is among them."""
    return [(answer, len(answers)) for answer in map(hang_on_three, answers)]


def test_the_answers_of_a_shard_are_finished_together(handle):
    def results(place):
        found = run_shards(place, Work(double, numbered), shards_of(7, 3), in_flight=2, time_limit_s=60.0)
        return sorted(answer for result in found for answer in result.done)

    assert results(handle) == results(InProcess()) == [(0, 3), (2, 3), (4, 3), (6, 3), (8, 3), (10, 3), (12, 1)]


def test_what_hangs_when_finished_together_is_found_as_well(handle):
    results = list(run_shards(handle, Work(same, numbered), shards_of(6, 3), in_flight=2, time_limit_s=0.5))
    assert sorted(answer for result in results for answer, _ in result.done) == [0, 1, 2, 4, 5]
    assert [(f.item, f.reason) for result in results for f in result.failures] == [(3, Reason.TIMEOUT)]


def die_at_the_second_time(folder, item):
    times = len(list(folder.glob(f"{item}-*")))
    (folder / f"{item}-{times}").touch()
    if times == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_an_answer_lost_with_its_worker_that_costs_the_next_worker_its_life_ends_no_run(handle, tmp_path):
    work = Work(functools.partial(die_at_the_second_time, tmp_path))
    results = run_shards(handle, work, [[1], [2], [3]], in_flight=3, time_limit_s=60.0)
    found = [next(results)]
    while len(list(tmp_path.iterdir())) < 3:
        time.sleep(0.01)
    time.sleep(0.5)  # both others are done, and are handed out one after the other
    found.append(next(results))
    for pid in handle._client.run(os.getpid).values():
        os.kill(pid, signal.SIGKILL)
    found += results
    assert sorted(answer for result in found for answer in result.done) == [1, 2, 3]
    assert [result.failures for result in found] == [[], [], []]
    assert len(list(tmp_path.iterdir())) == 5  # the third: done, died, alone


def test_an_error_of_the_function_is_a_bug_and_is_raised(handle):
    with pytest.raises(ZeroDivisionError):
        collect(handle, raise_on_two, shards_of(4, 2))


def test_shards_are_read_only_as_fast_as_they_are_done(handle):
    read = []

    def source():
        for shard in shards_of(40, 2):
            read.append(shard)
            yield shard

    results = run_shards(handle, Work(double), source(), in_flight=2, time_limit_s=60.0)
    next(results)
    assert len(read) <= 4
    assert len(list(results)) == 19


def test_local_workers_without_the_memory_to_live_are_a_sentence(monkeypatch):
    monkeypatch.setattr("clnm.cluster.running._PATIENCE_SECONDS", 3)
    with (
        pytest.raises(ConfigurationError, match="memory_per_worker_gib"),
        open_cluster("local", 1, 0.01) as handle,
    ):
        collect(handle, double, shards_of(4, 2))


def test_a_scheduler_that_does_not_answer_is_a_sentence(monkeypatch):
    monkeypatch.setattr("clnm.cluster.opening._CONNECT_SECONDS", 1)
    with (
        pytest.raises(ConfigurationError, match="nobody answers"),
        open_cluster("tcp://127.0.0.1:9", 1, 1.0),
    ):
        pass


def test_a_fold_of_a_training_that_no_worker_survives_ends_it_with_a_sentence(handle):
    assert sorted(run_folds(handle, same, range(5))) == list(range(5))
    with pytest.raises(
        ConfigurationError, match=r"no worker survived a fold of the training \(worker_crash\); raise it"
    ):
        list(run_folds(handle, crash_on_seven, [6, 7]))
