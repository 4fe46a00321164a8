"""Schedules: serve the flows from this machine, or register them with a Prefect server's work pool.

Example: python -m flows.serving serve --config /srv/clnm/clnm.toml
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import serve
from prefect.exceptions import PrefectException

from clnm import pipeline
from flows.monitor import monitor
from flows.nightly import nightly
from flows.retrain import retrain

FLOWS = {"nightly": nightly, "retrain": retrain, "monitor": monitor}


def scheduled(config: Path) -> dict[str, dict[str, Any]]:
    """Each flow's schedule and parameters, as `clnm.toml` has them; monitor has no schedule of its own."""
    crons: Mapping[str, str] = pipeline.schedules(config)
    parameters = {"config": str(config.absolute())}
    return {name: {"cron": crons.get(name), "parameters": parameters} for name in FLOWS}


def serve_here(config: Path) -> None:
    """Run scheduled flows in child processes of this one until it is stopped."""
    plans = scheduled(config)
    serve(*[flow.to_deployment(name=name, **plans[name]) for name, flow in FLOWS.items()])


def register(config: Path, work_pool: str) -> None:
    """Register a deployment per flow; a worker of `work_pool` runs them."""
    folder = Path(__file__).resolve().parent.parent
    plans = scheduled(config)
    for name, flow in FLOWS.items():
        remote = flow.from_source(source=str(folder), entrypoint=f"flows/{name}.py:{name}")
        remote.deploy(name=name, work_pool_name=work_pool, print_next_steps=False, **plans[name])


def main() -> None:
    """The command line of `clnm serve` and `clnm deploy`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("serve", "deploy"))
    parser.add_argument("--config", default="clnm.toml", type=Path)
    parser.add_argument("--work-pool", default="clnm")
    arguments = parser.parse_args()
    try:
        if arguments.action == "serve":
            serve_here(arguments.config)
        else:
            register(arguments.config, arguments.work_pool)
    except pipeline.UserError as error:
        sys.stderr.write(f"clnm: {error}\n")
        sys.exit(error.exit_code)
    except PrefectException as error:
        sys.stderr.write(
            f"clnm: Prefect refused ({type(error).__name__}): is PREFECT_API_URL set, the server up, and "
            f"work pool {arguments.work_pool!r} there?\n"
        )
        sys.exit(10)


if __name__ == "__main__":
    main()
