"""The retraining flow: nine new challengers on what is known now; the report says how they compare with the champion.

Example: python -m flows.retrain --config demo/clnm.toml
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import flow

from clnm import pipeline
from flows.running import perform_stages, run_from_command_line


@flow(name="retrain", log_prints=False)
def retrain(config: str = "clnm.toml", as_of: datetime | None = None) -> dict[str, Any]:
    """Train, score what the new champion (if any) has not scored, report."""
    with pipeline.open_run(Path(config), command="retrain", as_of=as_of) as run:
        perform_stages(run, pipeline.RETRAIN)
    return pipeline.summarize(run)


if __name__ == "__main__":
    run_from_command_line(retrain)
