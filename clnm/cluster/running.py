"""Shards out, results in as they come, whatever happens to a worker."""

from __future__ import annotations

import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from clnm.entities import Reason
from clnm.errors import ConfigurationError

_LONE_ATTEMPTS = 2
_PATIENCE_SECONDS = 300
"""How long shards wait for a cluster without a single worker."""
_WENT_AWAY = "[compute] scheduler: it went away; start it and run again, what was done is kept"

Shard = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Work:
    """What is done to a shard; both must be importable on the workers."""

    each: Callable[[Any], Any]
    """From an item to its answer."""
    together: Callable[[list[Any]], Any] | None = None
    """From the answers of all items of a shard to the shard's own: what is faster for several at once."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that no worker survived, and how it ended."""

    item: Any
    reason: Reason


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What became of a shard: `done` is its answer (a list of its items' own, unless something is done together).

    Or `failures` tells of the items that have none; then `done` is an empty list.
    """

    shard: Shard
    done: Any
    failures: list[Failure]


class Handle(Protocol):
    """Where shards run."""

    def workers(self) -> int:
        """How many shards it can run at a time, as of now; at least 1."""

    def run(self, work: Work, shards: Iterable[Shard], in_flight: int, limit_s: float) -> Iterator[ShardResult]:
        """Yield a result per finished shard, at most `in_flight` at a time."""


def in_flight_of(handle: Handle) -> int:
    """Shards to have submitted and not answered: one at work and one waiting for each worker."""
    return 2 * handle.workers()


def run_shards(
    handle: Handle, work: Work, shards: Iterable[Shard], *, in_flight: int, time_limit_s: float
) -> Iterator[ShardResult]:
    """Run `work` over each shard; bounded memory however many shards there are.

    Args:
        handle: where.
        work: what is done to each item, and to the answers of a shard.
        shards: read lazily.
        in_flight: shards submitted and not yet answered.
        time_limit_s: for one item.

    Raises:
        ConfigurationError: the cluster is gone, or has been without a worker for minutes.
    """
    yield from handle.run(work, shards, in_flight, time_limit_s)


class InProcess:
    """Runs shards here, one after the other: for tiny work and tests. A crash here is a crash."""

    def workers(self) -> int:
        """See `Handle`."""
        return 1

    def run(self, work: Work, shards: Iterable[Shard], in_flight: int, limit_s: float) -> Iterator[ShardResult]:
        """See `Handle`."""
        del in_flight, limit_s
        for shard in shards:
            answers = [work.each(item) for item in shard]
            yield ShardResult(shard, work.together(answers) if work.together else answers, [])


class OnDask:
    """Runs shards on a Dask cluster whose workers have one thread each."""

    def __init__(self, client: Any, deserted: str) -> None:
        self._client = client
        self._deserted = deserted

    def workers(self) -> int:
        """See `Handle`."""
        return max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))

    def run(self, work: Work, shards: Iterable[Shard], in_flight: int, limit_s: float) -> Iterator[ShardResult]:
        """See `Handle`."""
        suspects: list[Any] = []
        yield from self._side_by_side(work, shards, in_flight, limit_s, suspects)
        for item in suspects:
            yield self._alone(work, item, limit_s)

    def _side_by_side(
        self, work: Work, shards: Iterable[Shard], in_flight: int, limit_s: float, suspects: list[Any]
    ) -> Iterator[ShardResult]:
        """Halve each shard whose worker dies; an item left alone in its shard is only a suspect.

        The death of a worker takes every shard it was given, whichever of them it had begun.
        """
        halves, source = deque[Shard](), iter(shards)
        running: dict[Any, Shard] = {}
        while True:
            while len(running) < in_flight:
                shard = halves.popleft() if halves else next(source, None)
                if shard is None:
                    break
                running[self._submit(work, shard, limit_s)] = shard
            if not running:
                return
            for future in self._finished(running):
                shard = running.pop(future)
                answer, death = self._outcome(future)
                if death is None:
                    yield ShardResult(shard, answer, [])
                elif len(shard) == 1:
                    suspects.extend(shard)
                else:
                    middle = len(shard) // 2
                    halves.extend((shard[:middle], shard[middle:]))
                future.release()

    def _alone(self, work: Work, item: Any, limit_s: float) -> ShardResult:
        """With nothing else in flight a death is the item's own doing, and a second one no accident."""
        reason: Reason | None = None
        for _ in range(_LONE_ATTEMPTS):
            self._wait_for_workers()
            began = time.monotonic()
            [future] = self._finished([self._submit(work, [item], limit_s)])
            answer, reason = self._outcome(future)
            if reason is None:
                return ShardResult([item], answer, [])
            if reason is Reason.WORKER_CRASH and time.monotonic() - began >= limit_s:
                reason = Reason.TIMEOUT
        assert reason is not None
        return ShardResult([item], [], [Failure(item, reason)])

    def _submit(self, work: Work, shard: Shard, limit_s: float) -> Any:
        return self._client.submit(_done, work, list(shard), limit_s, pure=False, retries=0)

    def _finished(self, running: Iterable[Any]) -> list[Any]:
        """The futures that are done, at least one."""
        from distributed import wait
        from distributed.client import FuturesCancelledError

        while True:
            try:
                return list(wait(list(running), timeout=_PATIENCE_SECONDS, return_when="FIRST_COMPLETED").done)
            except TimeoutError:
                self._wait_for_workers()
            except FuturesCancelledError:
                raise ConfigurationError(_WENT_AWAY) from None

    def _wait_for_workers(self) -> None:
        try:
            self._client.wait_for_workers(1, timeout=_PATIENCE_SECONDS)
        except TimeoutError:
            raise ConfigurationError(self._deserted) from None

    def _outcome(self, future: Any) -> tuple[Any, Reason | None]:
        """A shard's answer, or the reason that a worker's death gives. An error of the function is raised.

        An answer lies on its worker until it is asked for: lost with it, it is computed again, and that can end in a
        death, too.
        """
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        try:
            return future.result(), None
        except FutureCancelledError:
            raise ConfigurationError(_WENT_AWAY) from None
        except MemoryError:
            return None, Reason.MEMORY
        except KilledWorker as death:
            restarted = {event["worker"] for _, event in self._client.get_events("worker-restart-memory")}
            return None, Reason.MEMORY if death.last_worker.address in restarted else Reason.WORKER_CRASH


def _done(work: Work, items: list[Any], limit_s: float) -> Any:
    """The answer of a shard, on a worker, with one BLAS and torch thread."""
    answers = []
    with _thread_pools(len(sys.modules)).limit(limits=1):
        for item in items:
            with _time_limit(limit_s):
                answers.append(work.each(item))
        if work.together:
            with _time_limit(limit_s * len(items)):
                return work.together(answers)
    return answers


@lru_cache(maxsize=1)
def _thread_pools(modules: int) -> Any:
    """What holds threads of BLAS or OpenMP; looked for again when more was imported, as it takes longer than a ROI."""
    del modules
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """The kernel ends the worker when time is over: nothing else stops compiled code that may hold the interpreter.

    The scheduler reports the death, and the halving finds the item.
    """
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
