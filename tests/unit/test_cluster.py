"""Shards on a real local cluster: whatever happens to a worker, nothing is lost and nothing is done twice."""

import os
import signal
import time

import pytest

from clnm.cluster import InProcess, open_cluster, run_shards
from clnm.entities import Reason
from clnm.errors import ConfigurationError

pytestmark = pytest.mark.long


def double(items):
    return [2 * item for item in items]


def crash_on_seven(items):
    if 7 in items:
        os.kill(os.getpid(), signal.SIGKILL)
    return list(items)


def hang_on_three(items):
    while 3 in items:
        time.sleep(0.05)
    return list(items)


def raise_on_two(items):
    if 2 in items:
        raise ZeroDivisionError
    return list(items)


def shards_of(count, size):
    return [list(range(start, min(start + size, count))) for start in range(0, count, size)]


def collect(handle, function, shards, *, limit=60.0):
    results = list(run_shards(handle, function, shards, in_flight=2, time_limit_s=limit))
    return sorted(item for r in results for item in r.done), [f for r in results for f in r.failures]


@pytest.fixture(scope="module")
def handle():
    with open_cluster("local", 1, 1.0) as opened:
        yield opened


def test_results_are_those_of_a_run_in_this_process(handle):
    shards = shards_of(20, 3)
    assert collect(handle, double, shards) == collect(InProcess(), double, shards) == (list(range(0, 40, 2)), [])


def test_a_shard_that_kills_its_worker_is_halved_until_the_guilty_item_stands_alone(handle):
    done, failures = collect(handle, crash_on_seven, shards_of(12, 6))
    assert done == [item for item in range(12) if item != 7]
    assert [(failure.item, failure.reason) for failure in failures] == [(7, Reason.WORKER_CRASH)]


def test_an_item_beyond_its_time_is_found_and_the_others_are_finished(handle):
    done, failures = collect(handle, hang_on_three, shards_of(5, 5), limit=1.0)
    assert done == [0, 1, 2, 4]
    assert [(failure.item, failure.reason) for failure in failures] == [(3, Reason.TIMEOUT)]


def test_an_error_of_the_function_is_a_bug_and_is_raised(handle):
    with pytest.raises(ZeroDivisionError):
        collect(handle, raise_on_two, shards_of(4, 2))


def test_shards_are_read_only_as_fast_as_they_are_done(handle):
    read = []

    def source():
        for shard in shards_of(40, 2):
            read.append(shard)
            yield shard

    results = run_shards(handle, double, source(), in_flight=2, time_limit_s=60.0)
    next(results)
    assert len(read) <= 4
    assert len(list(results)) == 19


def test_a_scheduler_that_does_not_answer_is_a_sentence(monkeypatch):
    monkeypatch.setattr("clnm.cluster._CONNECT_SECONDS", 1)
    with (
        pytest.raises(ConfigurationError, match="nobody answers"),
        open_cluster("tcp://127.0.0.1:9", 1, 1.0),
    ):
        pass
