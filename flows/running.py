"""What the flows share: a stage as a Prefect task, and a flow started from a command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from prefect import Flow, task
from prefect.cache_policies import NO_CACHE

from clnm import pipeline


def perform_stages(run: pipeline.Run, stages: Iterable[pipeline.Stage]) -> None:
    """Perform each stage as a task of its own; the run itself never leaves this process."""
    for stage in stages:
        for center in run.centers if stage.is_per_center else (None,):

            def perform(stage: pipeline.Stage = stage, center: str | None = center) -> None:
                pipeline.perform(run, stage, center)

            name = stage.name if center is None else f"{stage.name} {center}"
            task(perform, name=stage.name, task_run_name=name, cache_policy=NO_CACHE, persist_result=False)()


def run_from_command_line(flow: Flow[..., Any]) -> None:
    """Run `flow` with `--config` and `--as-of`; end with the documented exit codes."""
    parser = argparse.ArgumentParser(description=flow.description)
    parser.add_argument("--config", default="clnm.toml", help="the installation's file")
    parser.add_argument("--as-of", default=None, help="only what was known at this moment (UTC)")
    parser.add_argument("--json", action="store_true", help="the result as one JSON object")
    arguments = parser.parse_args()
    try:
        summary = flow(config=arguments.config, as_of=arguments.as_of)
    except pipeline.UserError as error:
        if error.done:
            _show(error.done, as_json=arguments.json)
        sys.stderr.write(f"clnm: {error}\n")
        sys.exit(error.exit_code)
    _show(summary, as_json=arguments.json)


def _show(summary: Mapping[str, Any], *, as_json: bool) -> None:
    lines = [json.dumps(summary, default=str)] if as_json else pipeline.describe(summary)
    sys.stdout.write("\n".join(lines) + "\n")
