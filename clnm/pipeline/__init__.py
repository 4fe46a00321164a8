"""The use cases, and the order they run in: the one place where the sibling packages meet.

Nothing here knows an orchestrator: `clnm nightly` performs the stages in this process, the flows wrap each in a task.
"""

from __future__ import annotations

from clnm.errors import UserError
from clnm.pipeline.extract import Backfill
from clnm.pipeline.run import Run, open_run, summarize
from clnm.pipeline.stages import MONITOR, NIGHTLY, RETRAIN, Stage, nightly, perform, run_stage, schedules
from clnm.pipeline.summary import describe

__all__ = [
    "MONITOR",
    "NIGHTLY",
    "RETRAIN",
    "Backfill",
    "Run",
    "Stage",
    "UserError",
    "describe",
    "nightly",
    "open_run",
    "perform",
    "run_stage",
    "schedules",
    "summarize",
]
