"""Setting up: init, doctor, simulate, demo, deploy, serve, receive."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from clnm.cli.app import app, options, show
from clnm.errors import ConfigurationError

Patients = Annotated[int, typer.Option(min=16, help="How many patients, over four centers.")]
Seed = Annotated[int, typer.Option(help="Same seed, same bytes.")]
Drifts = Annotated[
    list[str] | None, typer.Option("--drift", help="CENTER:KIND; kinds: gain, scanner, prevalence, label.")
]
Faults = Annotated[bool, typer.Option("--faults", help="Plant one file of every fault.")]


@app.command()
def init(directory: Annotated[Path, typer.Argument(help="A new or empty folder.")]) -> None:
    """Write a commented clnm.toml and make a pseudonym key where there is none.

    Example: clnm init hospital
    """
    from clnm.pipeline.setting_up import write_installation

    result = write_installation(directory)
    show(
        result,
        lambda: [
            f"wrote {result['config']}: say where your archives are, then `clnm --config {result['config']} doctor`",
            f"pseudonym key: {result['key']}; keep a copy, without it no patient is found again",
            f"link key: {result['link_key']}; move it to whoever may know who a patient is, intake does not need it",
        ],
    )


@app.command()
def doctor() -> None:
    """Say what is configured, reachable and installed, and what to mend.

    Example: clnm doctor
    """
    from clnm.pipeline.setting_up import examine_installation

    findings = examine_installation(options.config)
    show({"findings": findings}, lambda: [f"{'ok  ' if line['ok'] else 'MEND'}  {line['what']}" for line in findings])
    broken = [line["what"] for line in findings if not line["ok"]]
    if broken:
        raise ConfigurationError(f"{len(broken)} thing(s) to mend: " + "; ".join(broken))


@app.command()
def simulate(
    directory: Annotated[Path, typer.Argument(help="Where to put the archive.")],
    patients: Patients = 214,
    seed: Seed = 2025,
    drift: Drifts = None,
    faults: Faults = False,
) -> None:
    """Make a make-believe four-center archive with known truth, and its clnm.toml.

    Example: clnm simulate playground --patients 40 --drift C3:gain
    """
    from clnm.pipeline.demo import simulate_installation

    result = simulate_installation(directory, patients=patients, seed=seed, drift=drift or [], faults=faults)
    show(
        result,
        lambda: [
            f"{result['patients']} patients in {len(result['centers'])} centers under {directory}",
            f"best AUC anyone could reach: {result['best_auc']:.3f}, external {result['best_auc_external']:.3f}",
            f"next: clnm --config {directory}/clnm.toml nightly",
        ],
    )


@app.command()
def demo(
    directory: Annotated[Path, typer.Argument(help="Where to put it.")] = Path("demo"),
    patients: Patients = 214,
    seed: Seed = 2025,
    drift: Drifts = None,
    faults: Faults = False,
) -> None:
    """Simulate an archive, run the nightly flow over it, say what to look at next.

    Example: clnm demo playground --drift C3:gain
    """
    from clnm.pipeline.demo import compare_with_truth, simulate_installation

    simulation = simulate_installation(directory, patients=patients, seed=seed, drift=drift or [], faults=faults)
    config = directory / "clnm.toml"
    code = _start_flow("flows.nightly", "--config", str(config))
    result = compare_with_truth(config, simulation)
    show(result, lambda: result["lines"])
    if code:
        raise typer.Exit(code)


@app.command()
def deploy(work_pool: Annotated[str, typer.Option(help="The Prefect work pool that runs the flows.")] = "clnm") -> None:
    """Register the flows and their schedules with a Prefect server.

    Example: clnm deploy --work-pool hospital
    """
    raise typer.Exit(_start_flow("flows.serving", "deploy", "--config", str(options.config), "--work-pool", work_pool))


@app.command()
def serve() -> None:
    """Serve the flows and their schedules from this machine, until stopped.

    Example: clnm serve
    """
    raise typer.Exit(_start_flow("flows.serving", "serve", "--config", str(options.config)))


@app.command()
def receive() -> None:
    """Listen for DICOM senders (C-STORE) and put what they send into a center's archive, until stopped.

    Example: clnm receive
    """
    from clnm.pipeline.receive import receiving

    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with receiving(options.config) as (address, port):
        if not options.quiet:
            typer.echo(f"listening at {address}:{port}; stop with Ctrl-C", err=True)
        stopped.wait()


def _start_flow(module: str, *arguments: str) -> int:
    """Start `python -m flows.…`: the library itself knows no orchestrator."""
    return subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode  # noqa: S603 - our own module
