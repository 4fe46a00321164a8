"""The writer's lock of a store in a bucket: an object that its holder renews; who stops renewing has lost it.

Age is told by the server's own clock. A lease only keeps honest runs apart: what makes two writers safe is the
condition on the manifest.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from clnm.errors import LockedError, StoreError
from clnm.store.bucket import ABSENT, BeatenError, Bucket

LOCK = "lock"
LEASE_SECONDS = 120
"""As long as a run that died keeps others out."""


@contextmanager
def hold_lease(bucket: Bucket, holder: Mapping[str, object]) -> Iterator[None]:
    """Hold the bucket's lease within the block.

    Args:
        bucket: of the store.
        holder: `run_id`, `command`, `since`, and `machine`, by which a run knows what an earlier one of its machine
            left: the folder's own lock has shown already that that one is dead.

    Raises:
        LockedError: another run holds it.
    """
    content = json.dumps(holder).encode()
    tag = _take(bucket, content, str(holder["machine"]))
    is_over = threading.Event()
    keeper = threading.Thread(target=_renew, args=(bucket, content, tag, is_over), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        is_over.set()
        keeper.join()
        with suppress(StoreError, BeatenError):
            found = bucket.read(LOCK)
            if found is not None and found.content == content:
                bucket.delete([LOCK])


def _take(bucket: Bucket, content: bytes, machine: str) -> str:
    found = bucket.read(LOCK)
    holder = _holder(found.content) if found else {}
    if found and found.age_s < LEASE_SECONDS and holder.get("machine") != machine:
        raise LockedError(
            f"run {holder.get('run_id', '?')} ({holder.get('command', '?')}, on another machine) holds the lock "
            f"since {holder.get('since', '?')}; wait for its end (a run that died gives it back after "
            f"{LEASE_SECONDS} seconds)"
        )
    try:
        return bucket.write(LOCK, content, over=found.tag if found else ABSENT)
    except BeatenError:
        raise LockedError("another run took the store's lock in this moment; wait for its end") from None


def _renew(bucket: Bucket, content: bytes, tag: str, is_over: threading.Event) -> None:
    """Write the object again and again: its age is how long ago that was. A lease that was lost is not taken back."""
    while not is_over.wait(LEASE_SECONDS / 4):
        with suppress(StoreError):
            try:
                tag = bucket.write(LOCK, content, over=tag)
            except BeatenError:
                return


def _holder(content: bytes) -> dict[str, object]:
    try:
        holder = json.loads(content)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}
