"""The suites in a process of their own: their library takes seconds to import, and the night goes on meanwhile.

Where it ends early, for want of memory, this process does what it was for. Little is imported here before it is
started: it may be the first thing that a night does.
"""

from __future__ import annotations

import contextlib
import gc
import signal
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Protocol

from clnm.errors import UserError
from clnm.process import start_python

if TYPE_CHECKING:
    import pandas as pd

    from clnm.quality.suites import CheckResult, Suite

_SERVE = "import sys; from clnm.quality.process import serve; serve(int(sys.argv[1]))"


class Suites(Protocol):
    """Who runs suites: `clnm.quality.suites` itself, or a process."""

    def run_suite(self, suite: Suite, frames: Mapping[str, pd.DataFrame]) -> dict[str, list[CheckResult]]:
        """See `clnm.quality.suites`."""


@contextlib.contextmanager
def suites_ahead() -> Iterator[Suites]:
    """Suites whose library is imported from now on, beside this process; ended with the block."""
    try:
        process = SuiteProcess()
    except OSError:  # so few processes are allowed: the night takes longer
        from clnm.quality import suites

        yield suites
        return
    try:
        yield process
    finally:
        process.end()


class SuiteProcess:
    """Imports at once what the suites need, and is asked later."""

    def __init__(self) -> None:
        self._process, self._connection = start_python(_SERVE)

    def run_suite(self, suite: Suite, frames: Mapping[str, pd.DataFrame]) -> dict[str, list[CheckResult]]:
        """See `clnm.quality.suites`."""
        from clnm.quality import suites

        answer = self._ask(suite, frames)
        return suites.run_suite(suite, frames) if answer is None else answer

    def end(self) -> None:
        """End it, whatever it is doing."""
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _ask(self, suite: Suite, frames: Mapping[str, pd.DataFrame]) -> dict[str, list[CheckResult]] | None:
        """Its answer; None where it has ended or has none, and this process finds out why. A `UserError` is raised."""
        try:
            self._connection.send((suite, frames))
            answer: dict[str, list[CheckResult]] | UserError | None = self._connection.recv()
        except (EOFError, OSError):
            answer = None
        if isinstance(answer, UserError):
            raise answer
        if answer is None:
            from clnm import log

            log.get().warning("the suites' process gave no answer", suite=suite.name)
        return answer


def serve(descriptor: int) -> None:
    """What the process does: until nobody is there any more, answer."""
    from clnm.quality import suites

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever is interrupted ends it
    gc.disable()  # nothing of what is imported is garbage, and to look for it takes a fifth of the time,
    with contextlib.suppress(Exception):  # is raised where somebody asks
        for suite in suites.read_suites():
            suites.build_suite(suite)
    gc.freeze()  # or is caught up on while somebody waits
    gc.enable()
    with Connection(descriptor) as connection, contextlib.suppress(EOFError, OSError):
        while True:
            suite, frames = connection.recv()
            answer: dict[str, list[CheckResult]] | UserError | None = None
            try:
                answer = suites.run_suite(suite, frames)
            except UserError as error:
                answer = error
            except Exception:  # noqa: BLE001, S110 - it happens again, with its traceback, in the process that asked
                pass
            connection.send(answer)
