"""A local cluster, or a running one at an address: where shards go."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from clnm.cluster.running import Handle, OnDask
from clnm.errors import ConfigurationError

_THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_WORKER_ENVIRONMENT = {
    **dict.fromkeys(_THREAD_COUNTS, "1"),
    "DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "critical",  # else an orchestrator's root handler prints its lines
}
_CHATTY = ("", ".client", ".core", ".nanny", ".scheduler", ".worker")
_ALLOWED_FAILURES = 0
"""The scheduler gives a shard up at the first death of its worker; what to try again is decided by who runs them."""
_CONNECT_SECONDS = 30
_LARGEST_TASK = "4GiB"
"""A fold of a training is handed the whole training frame; below this Dask does not complain of it on stderr."""
_RARELY = "10s"
_WITHOUT_END = tuple(f"distributed.worker.memory.{limit}" for limit in ("target", "spill", "pause"))
"""A worker that had to wait for its memory to shrink would wait for ever; the nanny ends the one that has no more."""
_NEVER = "30 days"
"""A local worker that died is started again by its nanny; a cluster that gives it up meanwhile stops for ever."""
_NO_WORKER_LEFT = "[compute] scheduler: it has no worker left; start some and run again, what was done is kept"
_NO_WORKER_LIVES = "[compute] memory_per_worker_gib: no worker can live with that little; raise it and run again"


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
    begin_to_import(scheduler, preload)
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
        "distributed.admin.tick.interval": _RARELY,  # loops that watch themselves cost more than what they watch
        "distributed.admin.system-monitor.interval": _RARELY,
        **dict.fromkeys(_WITHOUT_END, False),
        "distributed.admin.tick.limit": _NEVER,
        "distributed.admin.log-format": "%(message)s",
        "distributed.admin.large-graph-warning-threshold": _LARGEST_TASK,
    }
    with dask.config.set(settings), _without_main():
        if scheduler != "local":
            with _connect(scheduler) as client:
                yield OnDask(client, _NO_WORKER_LEFT)
            return
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=f"{memory_per_worker_gib}GiB",
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            silence_logs="CRITICAL",
            local_directory=os.environ.get("TMPDIR"),
        )
        try:
            with Client(cluster) as client:
                yield OnDask(client, _NO_WORKER_LIVES)
        finally:
            with suppress(KeyError):  # of a worker that died before the cluster had listed it; all else is closed
                cluster.close()


@contextmanager
def _without_main() -> Iterator[None]:
    """Workers are not told which program started them: each would import it, a command line or an orchestrator.

    Python would have it so, for functions that are defined there; the work that they are sent is not.
    """
    main = sys.modules["__main__"]
    told: dict[str, Any] = {name: vars(main).pop(name) for name in ("__spec__", "__file__") if name in vars(main)}
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(told)


def begin_to_import(scheduler: str, preload: Sequence[str]) -> None:
    """Start the process that local workers are forked from; it imports while this one goes on.

    Whoever calls it long before `open_cluster`, with the same arguments, waits less there; a second call does nothing.
    """
    if scheduler != "local":
        return
    from multiprocessing import forkserver, get_context

    names = ["clnm.cluster.imports_begin", "distributed", *preload, "clnm.cluster.imports_end"]
    get_context("forkserver").set_forkserver_preload(names)
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
