"""The writer's lock: one run at a time, given back by the kernel even after `kill -9`."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from clnm.errors import LockedError, StoreError


@contextmanager
def hold_lock(root: Path, *, run_id: str, command: str, since: datetime) -> Iterator[None]:
    """Hold `<root>/lock` for the length of the block.

    Raises:
        LockedError: another run holds it; the sentence says which and since when.
        StoreError: the store's folder cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(f"the store's folder cannot be written ({error.strerror}); see [store] root") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LockedError(_who_holds_it(descriptor)) from None
        holder = {
            "run_id": run_id,
            "command": command,
            "pid": os.getpid(),
            "since": since.isoformat(timespec="seconds"),
        }
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        except OSError as error:
            raise StoreError(f"the store cannot be written ({error.strerror}); the last state is intact") from None
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _who_holds_it(descriptor: int) -> str:
    try:
        holder = dict.fromkeys(("run_id", "command", "pid", "since"), "?") | json.loads(os.pread(descriptor, 4096, 0))
    except (ValueError, TypeError):
        return "another run holds the store's lock; wait for its end"
    return (
        f"run {holder['run_id']} ({holder['command']}, process {holder['pid']}) holds the store's lock "
        f"since {holder['since']}; wait for its end"
    )
