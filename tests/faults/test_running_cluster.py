"""A cluster that somebody else started: over TLS, without workers, with workers of two threads, gone in mid-work."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import dask
import pytest
from distributed.security import Security

from clnm.cluster import Work, open_cluster, run_shards
from clnm.errors import ConfigurationError

pytestmark = pytest.mark.long

HERE = str(Path(__file__).resolve().parents[2])
DASK = str(Path(sys.executable).with_name("dask"))


def square(item):
    return item * item


def rest(item):
    time.sleep(0.2)
    return item


@contextmanager
def running(*commands):
    """Processes that are gone afterwards."""
    started = []
    try:
        for command in commands:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            started.append(subprocess.Popen([DASK, *command], env={**os.environ, "PYTHONPATH": HERE}, **quiet))
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def address(folder):
    """The scheduler's, once it has written it."""
    path = folder / "scheduler.json"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if path.exists() and (content := path.read_text(encoding="utf-8")).endswith("}"):
            return json.loads(content)["address"]
        time.sleep(0.1)
    raise AssertionError("no scheduler")


def scheduler(folder, *more):
    options = ["--no-dashboard", "--host", "127.0.0.1", "--port", "0"]
    return ["scheduler", *options, "--scheduler-file", str(folder / "scheduler.json"), *more]


def worker(folder, *more, threads=1):
    options = ["--nthreads", str(threads), "--no-dashboard", "--host", "127.0.0.1", "--local-directory", str(folder)]
    return ["worker", "--scheduler-file", str(folder / "scheduler.json"), *options, *more]


def test_over_tls_the_answers_are_those_of_any_cluster(tmp_path):
    secrets = Security.temporary()
    paths = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
    paths["ca"].write_text(secrets.tls_ca_file)
    paths["cert"].write_text(secrets.tls_scheduler_cert)
    paths["key"].write_text(secrets.tls_scheduler_key)
    tls = ["--tls-ca-file", str(paths["ca"]), "--tls-cert", str(paths["cert"]), "--tls-key", str(paths["key"])]
    mine = {"ca-file": paths["ca"], "client.cert": paths["cert"], "client.key": paths["key"]}
    settings = {f"distributed.comm.tls.{name}": str(path) for name, path in mine.items()}
    with running(scheduler(tmp_path, "--protocol", "tls", *tls), worker(tmp_path, "--protocol", "tls", *tls)):
        where = address(tmp_path)
        assert where.startswith("tls://")
        with dask.config.set(settings), open_cluster(where, 0, 1.0) as handle:
            results = list(run_shards(handle, Work(square), [[1, 2], [3]], in_flight=2, time_limit_s=60.0))
    assert sorted(item for result in results for item in result.done) == [1, 4, 9]


def test_a_scheduler_without_workers_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("clnm.cluster.opening._CONNECT_SECONDS", 2)
    with (
        running(scheduler(tmp_path)),
        pytest.raises(ConfigurationError, match="has no worker"),
        open_cluster(address(tmp_path), 0, 1.0),
    ):
        pass


def test_workers_of_two_threads_are_refused(tmp_path):
    with (
        running(scheduler(tmp_path), worker(tmp_path, threads=2)),
        pytest.raises(ConfigurationError, match="one thread each"),
        open_cluster(address(tmp_path), 0, 1.0),
    ):
        pass


def test_a_scheduler_that_goes_away_is_a_sentence_after_what_was_done(tmp_path):
    with running(scheduler(tmp_path), worker(tmp_path)) as processes, open_cluster(address(tmp_path), 0, 1.0) as handle:
        results = run_shards(handle, Work(rest), [[n] for n in range(200)], in_flight=2, time_limit_s=60.0)
        assert next(results).done
        processes[0].kill()
        with pytest.raises(ConfigurationError, match="went away"):
            list(results)
