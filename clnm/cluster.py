"""The one module that knows `distributed`: shards out, results in as they come, whatever happens to a worker.

State lives in the store, never in futures: a shard is a list of items, a result says of each item what became of it,
and a shard that kills its worker is halved until the guilty item stands alone.
"""

from __future__ import annotations

import logging
import os
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
_ALLOWED_FAILURES = 1
"""A task may see its worker die once (an innocent neighbour's death); the second time the shard is halved."""
_CONNECT_SECONDS = 30
_NEVER = "30 days"
"""A local worker that died is started again by its nanny; a cluster that gives it up meanwhile stops for ever."""

Shard = Sequence[Any]
Work = Callable[[Sequence[Any]], list[Any]]


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that no worker survived, and how it ended."""

    item: Any
    reason: Reason


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What became of some items: `done` holds the function's answers, `failures` the items that have none."""

    done: list[Any]
    failures: list[Failure]


class Handle(Protocol):
    """Where shards run."""

    def run(self, function: Work, shards: Iterable[Shard], in_flight: int, limit_s: float) -> Iterator[ShardResult]:
        """Yield a result per finished shard, at most `in_flight` at a time."""


def run_shards(
    handle: Handle, function: Work, shards: Iterable[Shard], *, in_flight: int, time_limit_s: float
) -> Iterator[ShardResult]:
    """Run `function` over each shard; bounded memory however many shards there are.

    Args:
        handle: where.
        function: from a shard's items to their answers; it must be importable on the workers.
        shards: read lazily.
        in_flight: shards submitted and not yet answered.
        time_limit_s: for one item; a shard has as much for each of its items.
    """
    yield from handle.run(function, shards, in_flight, time_limit_s)


class InProcess:
    """Runs shards here, one after the other: for tiny work and tests. A crash here is a crash."""

    def run(self, function: Work, shards: Iterable[Shard], in_flight: int, limit_s: float) -> Iterator[ShardResult]:
        """See `Handle`."""
        del in_flight, limit_s
        for shard in shards:
            yield ShardResult(function(shard), [])


class OnDask:
    """Runs shards on a Dask cluster."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, function: Work, shards: Iterable[Shard], in_flight: int, limit_s: float) -> Iterator[ShardResult]:
        """See `Handle`."""
        from distributed import as_completed

        waiting, source = deque[Shard](), iter(shards)
        running: dict[Any, tuple[Shard, float]] = {}
        completed = as_completed(with_results=False)

        def submit_next() -> None:
            while len(running) < in_flight:
                shard = waiting.popleft() if waiting else next(source, None)
                if shard is None:
                    return
                future = self._client.submit(_limited, function, list(shard), limit_s, pure=False, retries=0)
                running[future] = (shard, time.monotonic())
                completed.add(future)

        submit_next()
        while running:
            future = next(completed)
            shard, since = running.pop(future)
            is_late = time.monotonic() - since >= limit_s * len(shard)
            answer = self._collect(future, shard, waiting, is_late=is_late)
            future.release()
            submit_next()
            if answer is not None:
                yield answer

    def _collect(self, future: Any, shard: Shard, waiting: deque[Shard], *, is_late: bool) -> ShardResult | None:
        """The future's answer; None where the shard was halved and waits again."""
        if future.status == "finished":
            return ShardResult(future.result(), [])
        reason = _why_it_died(future)
        if reason is None:
            raise future.exception()
        if len(shard) == 1:
            timed_out = is_late and reason is Reason.WORKER_CRASH
            return ShardResult([], [Failure(shard[0], Reason.TIMEOUT if timed_out else reason)])
        middle = len(shard) // 2
        waiting.extend((shard[:middle], shard[middle:]))
        return None


@contextmanager
def open_cluster(scheduler: str, workers: int, memory_per_worker_gib: float) -> Iterator[Handle]:
    """A local cluster of one-thread processes, or the running one at a tcp:// or tls:// address.

    Raises:
        ConfigurationError: nobody answers at the address.
    """
    import dask
    from distributed import Client, LocalCluster

    for name in ("distributed", "distributed.worker", "distributed.nanny", "distributed.scheduler", "distributed.core"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    settings = {
        "distributed.scheduler.allowed-failures": _ALLOWED_FAILURES,
        "distributed.comm.timeouts.connect": f"{_CONNECT_SECONDS}s",
        "distributed.worker.daemon": False,
        "distributed.nanny.pre-spawn-environ": _WORKER_ENVIRONMENT,
        "distributed.deploy.lost-worker-timeout": _NEVER,
        "distributed.admin.log-format": "%(message)s",
    }
    with dask.config.set(settings):
        if scheduler != "local":
            try:
                client = Client(scheduler, timeout=_CONNECT_SECONDS)
            except (OSError, TimeoutError):
                raise ConfigurationError('[compute] scheduler: nobody answers there; start it or set "local"') from None
            with client:
                yield OnDask(client)
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
            yield OnDask(client)


def _limited(function: Work, items: list[Any], limit_s: float) -> list[Any]:
    """`function(items)` on one BLAS and torch thread.

    When the shard's time is over the worker ends itself: nothing else stops a loop in compiled code. The scheduler
    reports the death, and the halving finds the item.
    """
    import threading

    from threadpoolctl import threadpool_limits

    over = threading.Timer(limit_s * len(items), os._exit, args=(_TIMEOUT_EXIT,))
    over.daemon = True
    over.start()
    try:
        with threadpool_limits(limits=1):
            return function(items)
    finally:
        over.cancel()


_TIMEOUT_EXIT = 124


def _why_it_died(future: Any) -> Reason | None:
    """The reason a worker's death gives; None where the function itself raised (a bug, not a bad case)."""
    from distributed import KilledWorker

    error = future.exception()
    if isinstance(error, KilledWorker):
        return Reason.WORKER_CRASH
    if isinstance(error, MemoryError):
        return Reason.MEMORY
    return None
