"""A process of this interpreter that answers questions: what it is for is said by who starts it.

It hears that nobody is there any more, also of a parent that was killed, by the end of its connection.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection


def start_python(
    code: str, *arguments: object, environment: Mapping[str, str] | None = None
) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start it, and a connection to it; its standard streams, which may quote what it reads, go nowhere.

    Args:
        code: what it runs. `sys.argv[1]` is the descriptor of its end of the connection, the arguments follow.
        arguments: for the code.
        environment: beside this process's own.

    Raises:
        OSError: no process can be started.
    """
    connection, theirs = Pipe()
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, and words of ours
            [sys.executable, "-P", "-c", code, str(theirs.fileno()), *map(str, arguments)],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
        )
    return process, connection
