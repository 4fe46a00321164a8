"""A writer that is killed at a named step: `python -m tests.faults.killed_writer ROOT WHEN CALL PART [rename]`.

WHEN is before or after, CALL one of fsync, rename, unlink, PART a piece of the path it is called with. What is done is
a commit, or with `rename` the renaming of a center.
"""

import os
import signal
import sys
from pathlib import Path

from clnm.store.renaming import rename_centers
from tests.store_rows import LINEAGE, day, open_store, open_writer, stage_cases, table_of


def publish_and_stage(root, run_id="run-2"):
    """The commit under test: publishes what waits for C1, stages a case of C2, appends a file state, keeps a ledger."""
    ledger = root / "private" / f"ledger-{run_id}"
    ledger.parent.mkdir(exist_ok=True)
    ledger.write_bytes(b"the new ledger")
    with open_writer(open_store(root), run_id) as writer, writer.commit(LINEAGE) as batch:
        batch.publish("C1")
        stage_cases(batch, "C2", [7], day(2))
        batch.append("files", table_of("files", [{"file_key": "f2", "center": "C1"}]))
        batch.keep("ledger", f"private/ledger-{run_id}")


def rename(root, run_id="run-2"):
    """C1 becomes North."""
    store = open_store(root)
    with open_writer(store, run_id) as writer:
        rename_centers(root, {"C1": "North"}, writer.publish, run_id=run_id, committed_at="2024-01-03T00:00:00+00:00")
        store.rebuild_catalog()


def watch(name, when, part):
    """Kill this process before or after the first call of `os.<name>` on a path that holds `part`."""
    call = getattr(os, name)

    def watched(target, *arguments, **options):
        path = str(Path(f"/proc/self/fd/{target}").readlink() if isinstance(target, int) else target)
        is_meant = part in path
        if is_meant and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = call(target, *arguments, **options)
        if is_meant:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(os, name, watched)


if __name__ == "__main__":
    watch(sys.argv[3], sys.argv[2], sys.argv[4])
    work = rename if sys.argv[5:] == ["rename"] else publish_and_stage
    work(Path(sys.argv[1]))
