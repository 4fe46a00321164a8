"""Looks at files in processes of their own: a decoder that crashes, hangs or fills the memory ends one, not the night.

Decoders are compiled code, and their bytes come from outside. A looker is asked for one file at a time, so who ended it
is known; what it writes to its standard streams, which may quote what it reads, goes nowhere.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import threading
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from tempfile import mkdtemp
from types import TracebackType
from typing import Self

from clnm.archive.looking import fetch, look_at, put_by, refused
from clnm.archive.sights import Look, Sight, Task
from clnm.archive.walk import MAX_BYTES
from clnm.entities import Reason
from clnm.errors import ConfigurationError
from clnm.imaging.refusal import RefusedError
from clnm.process import start_python

TIME_LIMIT_S = 120.0
"""To decode one file; reading it takes as long as it takes, of the end of a large .tar.gz many minutes. (Only masks
that choose among the regions of an image are read within it.)"""
_MEMORY_BYTES = 4 * MAX_BYTES
"""Beyond what a looker has when it begins: the largest file, its pixels, and copies of both."""
_PATIENCE_S = 5.0
"""For a process that hung up to end."""
_SERVE = "import sys; from clnm.archive.lookers import serve; serve(int(sys.argv[1]), float(sys.argv[2]))"
_READY = "ready"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), "1")


class Lookers:
    """So many processes, each started when there is something for it to look at."""

    def __init__(self, count: int, *, time_limit_s: float = TIME_LIMIT_S) -> None:
        self._threads = ThreadPoolExecutor(count)
        place = _in_memory(count)
        self._all = [_Looker(time_limit_s, place) for _ in range(count)]
        self._alone = threading.Lock()
        self._idle: SimpleQueue[_Looker] = SimpleQueue()
        for looker in self._all:
            self._idle.put(looker)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """End them, whatever they are doing."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for looker in self._all:
            looker.kill()
        self._threads.shutdown()
        for looker in self._all:
            looker.end()

    def map(self, look: Look, tasks: Iterable[Task]) -> Iterator[Sight]:
        """A look at each file, in the order of the tasks; all of them are handed out at once.

        A file that no looker survives is refused: `decoder_crash`, `memory`, or, over its time limit, `timeout`; but
        for the last, after a second look with nothing else being looked at.

        Raises:
            ConfigurationError: no process can be started.
        """
        return self._threads.map(partial(self._look_at, look), tasks)

    def _look_at(self, look: Look, task: Task) -> Sight:
        own = look.of(task)
        of_servers = [root for masks in own.masks.values() for root, _ in masks if not isinstance(root, Path)]
        if task.entry.reason or of_servers:  # nothing to decode; or masks that only this process can ask for
            return put_by(look, look_at(look, task))
        if not isinstance(task.root, Path):
            fetched = fetch(look, task)
            if isinstance(fetched, Sight):
                return fetched
            task = replace(fetched, root=Path())
        try:
            return self._ask(own, task)
        except _DiedError as death:
            if death.reason is Reason.TIMEOUT:
                return _condemned(own, task, death)
        with self._alone, self._all_others() as looker:
            try:
                return looker.look_at(own, task)
            except _DiedError as death:
                return _condemned(own, task, death)

    def _ask(self, look: Look, task: Task) -> Sight:
        looker = self._idle.get()
        try:
            return looker.look_at(look, task)
        finally:
            self._idle.put(looker)

    @contextlib.contextmanager
    def _all_others(self) -> Iterator[_Looker]:
        """One looker while no other is at work: its death is its file's doing, not a neighbour's that took all memory.

        Nobody waits for this with a looker in hand.
        """
        taken = [self._idle.get() for _ in self._all]
        try:
            yield taken[0]
        finally:
            for looker in taken:
                self._idle.put(looker)


class _DiedError(RefusedError):
    """A looker ended before it answered; the reason says how."""


def _condemned(look: Look, task: Task, death: _DiedError) -> Sight:
    """A file that is refused without being decoded: with its size, its checksum, and what the index says of it."""
    fetched = fetch(look, task)
    if isinstance(fetched, Sight):
        return fetched
    row = look.index.get(task.place)
    index_hash = row.fingerprint(look.pseudonyms) if row else fetched.entry.index_hash
    return Sight(refused(replace(fetched.entry, index_hash=index_hash), death.reason, death.detail))


class _Looker:
    """One process at a time; the next one is started when a file has ended it."""

    def __init__(self, time_limit_s: float, place: Path | None) -> None:
        self._time_limit_s, self._place, self._scratch = time_limit_s, place, ""
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._is_over = False

    def look_at(self, look: Look, task: Task) -> Sight:
        """Have the process look.

        Raises:
            _DiedError: it ended.
            ConfigurationError: none can be started.
        """
        connection = self._connection or self._start()
        try:
            connection.send((look, task))
            answer: Sight | BaseException = connection.recv()
        except (EOFError, OSError):
            raise self._end_of_process() from None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def kill(self) -> None:
        """End the process, and start no other: whoever waits for its answer gets none."""
        self._is_over = True
        if process := self._process:
            process.kill()

    def end(self) -> None:
        """Let go of a process for whose answer nobody waits."""
        if self._process is not None:
            self._end_of_process()

    def _start(self) -> Connection:
        """A process that has imported what it needs."""
        if self._is_over:
            raise ConfigurationError("the run is over")
        try:
            self._scratch = mkdtemp(prefix="clnm-", dir=self._place)
            environment = {**_ONE_THREAD, "TMPDIR": self._scratch}
            self._process, connection = start_python(_SERVE, self._time_limit_s, environment=environment)
        except OSError as error:
            shutil.rmtree(self._scratch, ignore_errors=True)
            raise ConfigurationError(f"no process can be started to look at files ({error.strerror})") from None
        self._connection = connection
        if self._is_over:
            self._process.kill()
        try:
            assert connection.recv() == _READY
        except (EOFError, OSError):
            death = self._end_of_process()
            if death.reason is Reason.MEMORY:  # the kernel's choice, which may have been anyone
                raise death from None
            raise ConfigurationError(f"no process can be started to look at files ({death.detail})") from None
        return connection

    def _end_of_process(self) -> _DiedError:
        """What its end says of the file it had; what it left in its folder is deleted."""
        assert self._process is not None
        assert self._connection is not None
        self._connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE_S)
        self._process.kill()
        code = self._process.wait()
        self._process = self._connection = None
        shutil.rmtree(self._scratch, ignore_errors=True)
        if code == -signal.SIGALRM:
            return _DiedError(Reason.TIMEOUT, f"{self._time_limit_s:.0f} s")
        if code == -signal.SIGKILL:  # the kernel's, where the machine's memory is full
            return _DiedError(Reason.MEMORY)
        return _DiedError(Reason.DECODER_CRASH, signal.Signals(-code).name if code < 0 else f"exit code {code}")


def serve(descriptor: int, time_limit_s: float) -> None:
    """What a looker does: until nobody is there any more, look at the files it is sent."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold a patient
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever is interrupted ends it
    warnings.simplefilter("ignore")
    _limit_memory()
    with Connection(descriptor) as connection, contextlib.suppress(EOFError, OSError):
        connection.send(_READY)
        while True:
            look, task = connection.recv()
            try:
                answer: Sight | BaseException = put_by(look, _in_time(look, task, time_limit_s))
            except Exception as error:  # noqa: BLE001 - raised by who asked
                answer = error
            connection.send(answer)
    shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)  # of a run that was killed nobody else deletes it


def _in_time(look: Look, task: Task, time_limit_s: float) -> Sight:
    """A look; where decoding takes too long, the kernel ends this process: nothing else stops compiled code."""
    fetched = fetch(look, task)
    if isinstance(fetched, Sight):
        return fetched
    signal.setitimer(signal.ITIMER_REAL, time_limit_s)
    try:
        return look_at(look, fetched)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _in_memory(count: int) -> Path | None:
    """Where SimpleITK's scratch files go: what a looker leaves there when it dies is deleted with its folder.

    A disk takes longer to make a file than SimpleITK to read it. None, the usual place, where there is not room enough.
    """
    place = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    is_ours = place.is_dir() and os.access(place, os.W_OK)
    return place if is_ours and shutil.disk_usage(place).free >= count * MAX_BYTES else None


def _limit_memory() -> None:
    status = Path("/proc/self/statm")
    if status.exists():
        now = int(status.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = now + _MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
