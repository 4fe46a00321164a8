"""The nightly flow: one Prefect task per stage, and per center where the stage works by center.

Example: python -m flows.nightly --config demo/clnm.toml
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import flow

from clnm import pipeline
from flows.running import perform_stages, run_from_command_line


@flow(name="nightly", log_prints=False)
def nightly(config: str = "clnm.toml", as_of: datetime | None = None) -> dict[str, Any]:
    """Archive to report, in the order `clnm.pipeline` says."""
    with pipeline.open_run(Path(config), command="nightly", as_of=as_of) as run:
        perform_stages(run, pipeline.NIGHTLY)
    return pipeline.summarize(run)


if __name__ == "__main__":
    run_from_command_line(nightly)
