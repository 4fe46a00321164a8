"""The monitoring flow: drift and performance per center, without touching the archives.

Example: python -m flows.monitor --config demo/clnm.toml
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import flow

from clnm import pipeline
from flows.running import perform_stages, run_from_command_line


@flow(name="monitor", log_prints=False)
def monitor(config: str = "clnm.toml", as_of: datetime | None = None) -> dict[str, Any]:
    """Monitor and report."""
    with pipeline.open_run(Path(config), command="monitor", as_of=as_of) as run:
        perform_stages(run, pipeline.MONITOR)
    return pipeline.summarize(run)


if __name__ == "__main__":
    run_from_command_line(monitor)
