"""Status: per center, every file ever seen and the state it is in, cases, scores and verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clnm.entities import FileStatus
from clnm.errors import StoreError
from clnm.pipeline.installation import open_installation


def status(config: Path) -> dict[str, Any]:
    """One line per configured center, and the last run.

    Raises:
        StoreError: the states of a center's files do not add up to the files seen.
    """
    installation = open_installation(config)
    store = installation.store
    found = {row["center"]: row for row in store.run_query("status_by_center")}
    empty = dict.fromkeys(("files", "cases", "scored", *(state.value for state in FileStatus)), 0)
    lines = [{**empty, "verdict": None, **found.get(center, {}), "center": center} for center in installation.centers]
    for line in lines:
        if line["files"] != sum(line[state.value] for state in FileStatus):
            raise StoreError(f"center {line['center']}: file states do not add up; run `clnm store verify`")
    last = store.run_query("last_run")
    return {"centers": lines, "last_run": _sentence(last[0]) if last else None}


def _sentence(run: dict[str, Any]) -> str:
    return f"{run['command']} {run['run_id']}, {run['status']}, ended {run['finished_at']:%Y-%m-%d %H:%M} UTC"
