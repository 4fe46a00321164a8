"""The one module that knows `distributed`: shards out, results in as they come, whatever happens to a worker.

State lives in the store, never in futures: a shard is a list of items, a result says of each item what became of it,
a shard that kills its worker is halved, and an item is only condemned by deaths with nothing else in flight.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from clnm.entities import Reason
from clnm.errors import ConfigurationError

_THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_WORKER_ENVIRONMENT = {
    **dict.fromkeys(_THREAD_COUNTS, "1"),
    "DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "critical",  # else an orchestrator's root handler prints its lines
}
_CHATTY = ("", ".client", ".core", ".nanny", ".scheduler", ".worker")
_ALLOWED_FAILURES = 0
"""The scheduler gives a shard up at the first death of its worker; what to try again is decided here."""
_LONE_ATTEMPTS = 2
_CONNECT_SECONDS = 30
_NEVER = "30 days"
"""A local worker that died is started again by its nanny; a cluster that gives it up meanwhile stops for ever."""
_PATIENCE_SECONDS = 300
"""How long shards wait for a cluster without a single worker."""
_NO_WORKER_LEFT = "[compute] scheduler: it has no worker left; start some and run again, what was done is kept"
_NO_WORKER_LIVES = "[compute] memory_per_worker_gib: no worker can live with that little; raise it and run again"

Shard = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Work:
    """What is done to a shard; both must be importable on the workers."""

    each: Callable[[Any], Any]
    """From an item to its answer."""
    together: Callable[[list[Any]], list[Any]] | None = None
    """From the answers of all items of a shard to as many: what is faster for several at once."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that no worker survived, and how it ended."""

    item: Any
    reason: Reason


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What became of some items: `done` holds their answers, `failures` the items that have none."""

    done: list[Any]
    failures: list[Failure]


class Handle(Protocol):
    """Where shards run."""

    def run(self, work: Work, shards: Iterable[Shard], in_flight: int, limit_s: float) -> Iterator[ShardResult]:
        """Yield a result per finished shard, at most `in_flight` at a time."""


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

    def run(self, work: Work, shards: Iterable[Shard], in_flight: int, limit_s: float) -> Iterator[ShardResult]:
        """See `Handle`."""
        del in_flight, limit_s
        for shard in shards:
            answers = [work.each(item) for item in shard]
            yield ShardResult(work.together(answers) if work.together else answers, [])


class OnDask:
    """Runs shards on a Dask cluster whose workers have one thread each."""

    def __init__(self, client: Any, deserted: str) -> None:
        self._client = client
        self._deserted = deserted

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
                if self._why_it_died(future) is None:
                    yield ShardResult(future.result(), [])
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
            reason = self._why_it_died(future)
            if reason is None:
                return ShardResult(future.result(), [])
            if reason is Reason.WORKER_CRASH and time.monotonic() - began >= limit_s:
                reason = Reason.TIMEOUT
        assert reason is not None
        return ShardResult([], [Failure(item, reason)])

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
                raise ConfigurationError(
                    "[compute] scheduler: it went away; start it and run again, what was done is kept"
                ) from None

    def _wait_for_workers(self) -> None:
        try:
            self._client.wait_for_workers(1, timeout=_PATIENCE_SECONDS)
        except TimeoutError:
            raise ConfigurationError(self._deserted) from None

    def _why_it_died(self, future: Any) -> Reason | None:
        """The reason a worker's death gives; None where there is an answer. An error of the function is raised."""
        from distributed import KilledWorker

        if future.status == "finished":
            return None
        error = future.exception()
        if error is None:  # an answer that was lost with its worker and is there again
            return None
        if isinstance(error, MemoryError):
            return Reason.MEMORY
        if not isinstance(error, KilledWorker):
            raise error
        restarted = {event["worker"] for _, event in self._client.get_events("worker-restart-memory")}
        return Reason.MEMORY if error.last_worker.address in restarted else Reason.WORKER_CRASH


@contextmanager
def open_cluster(
    scheduler: str, workers: int, memory_per_worker_gib: float, *, preload: Sequence[str] = ()
) -> Iterator[Handle]:
    """A local cluster of one-thread processes, or the running one at a tcp:// or tls:// address.

    Local workers are forked from one process that has imported `preload`: a heavy library is read once, not once per
    worker, and the successor of a worker that died is there in a moment.

    Raises:
        ConfigurationError: nobody answers at the address, or there is no worker of one thread.
    """
    if scheduler == "local":
        _begin_to_import(preload)
    import dask
    from distributed import Client, LocalCluster

    for name in _CHATTY:
        logging.getLogger(f"distributed{name}").setLevel(logging.CRITICAL)
    settings = {
        "distributed.scheduler.allowed-failures": _ALLOWED_FAILURES,
        "distributed.comm.timeouts.connect": f"{_CONNECT_SECONDS}s",
        "distributed.worker.daemon": False,
        "distributed.nanny.pre-spawn-environ": _WORKER_ENVIRONMENT,
        "distributed.deploy.lost-worker-timeout": _NEVER,
        "distributed.worker.multiprocessing-method": "forkserver",
        "distributed.worker.profile.enabled": False,
        "distributed.admin.log-format": "%(message)s",
    }
    with dask.config.set(settings):
        if scheduler != "local":
            with _connect(scheduler) as client:
                yield OnDask(client, _NO_WORKER_LEFT)
            return
        with (
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=f"{memory_per_worker_gib}GiB",
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                silence_logs="CRITICAL",
                local_directory=os.environ.get("TMPDIR"),
            ) as cluster,
            Client(cluster) as client,
        ):
            yield OnDask(client, _NO_WORKER_LIVES)


def _begin_to_import(preload: Sequence[str]) -> None:
    """Start the process that local workers are forked from; it imports while this one goes on."""
    from multiprocessing import forkserver, get_context

    get_context("forkserver").set_forkserver_preload(["distributed", *preload])
    os.environ.update(_WORKER_ENVIRONMENT)  # as Dask does at each start of a worker, which is too late for this process
    forkserver.ensure_running()


def _connect(scheduler: str) -> Any:
    """A client of a running cluster that has workers; certificates for tls:// come from Dask's own configuration."""
    from distributed import Client

    try:
        client = Client(scheduler, timeout=_CONNECT_SECONDS)
    except (OSError, TimeoutError):
        raise ConfigurationError('[compute] scheduler: nobody answers there; start it or set "local"') from None
    try:
        client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
    except TimeoutError:
        client.close()
        raise ConfigurationError("[compute] scheduler: it has no worker; start some with --nthreads 1") from None
    if any(worker["nthreads"] != 1 for worker in client.scheduler_info(n_workers=-1)["workers"].values()):
        client.close()
        raise ConfigurationError("[compute] scheduler: its workers must have one thread each; start with --nthreads 1")
    return client


def _done(work: Work, items: list[Any], limit_s: float) -> list[Any]:
    """The answers of a shard, on a worker, with one BLAS and torch thread."""
    from threadpoolctl import threadpool_limits

    answers = []
    with threadpool_limits(limits=1):
        for item in items:
            with _time_limit(limit_s):
                answers.append(work.each(item))
        if work.together:
            with _time_limit(limit_s * len(items)):
                answers = work.together(answers)
    return answers


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
