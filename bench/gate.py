"""What the gate costs, and whether it holds a clean night: a first night, then thirty on which the archive grows.

Run: python bench/gate.py [PATIENTS]   (default 214, a third of them within the last 30 days; no embeddings)

These nights are ingest, extract and check, in one process and on one cluster. `judge` is what the gate itself takes (a
summary of each table, the suites over it); the rest of `check` is the publishing commit. At the end, the same as users
run it: `clnm nightly` with embeddings and models, in a process of its own, first over everything and then for a few
patients at a time.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from importlib.metadata import version
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: it has a radiomics.py of its own

import duckdb

from clnm.pipeline.check import look_at
from clnm.pipeline.run import open_run
from clnm.pipeline.stages import CHECK, EXTRACT, INGEST, perform_all
from clnm.settings import default_radiomics, make_pseudonym_key
from clnm.simulate import simulate_archive
from clnm.simulate.arrivals import deliver, read_arrivals
from tests.flows.growing import begin, one_worker

NIGHTS, FEW = 30, 5
STAGES = (INGEST, EXTRACT, CHECK)


def main() -> None:
    patients = int(sys.argv[1]) if len(sys.argv) > 1 else 214
    until = datetime.combine(datetime.now(UTC).date(), clock(), tzinfo=UTC)
    print(f"great-expectations {version('great-expectations')}, Python {sys.version.split()[0]}; one worker")
    with tempfile.TemporaryDirectory() as folder, one_worker() as scheduler:
        simulated, directory = Path(folder) / "simulated", Path(folder) / "grown"
        simulate_archive(simulated, patients=patients, seed=11, until=until, workers=2)
        arrivals = read_arrivals(simulated)
        first = until - timedelta(days=NIGHTS)
        config = begin(simulated, directory, lying_there(arrivals, first), now=first, scheduler=scheduler)
        (directory / "radiomics.yaml").write_text(default_radiomics(), encoding="utf-8")
        tell(f"the first night, {len(lying_there(arrivals, first))} patients", [perform(config)])
        nights = []
        for number in range(1, NIGHTS + 1):
            now = first + timedelta(days=number)
            deliver(simulated, directory, lying_there(arrivals, now), now=now)
            nights.append(perform(config))
        tell(f"{NIGHTS} nights, {len(arrivals) - len(lying_there(arrivals, first))} patients", nights)
        as_users_run_it(simulated, Path(folder) / "nightly", arrivals, until)


def as_users_run_it(simulated, directory, arrivals, until) -> None:
    """Whole nights: what of them is the stage `check`."""
    for number in range(FEW + 1):
        now = until - timedelta(days=FEW - number)
        before = 0 if number == 0 else len(lying_there(arrivals, now - timedelta(days=1)))
        deliver(simulated, directory, lying_there(arrivals, now), now=now)
        make_pseudonym_key(directory / "secrets" / "pseudonym.key")
        (directory / "radiomics.yaml").write_text(default_radiomics(), encoding="utf-8")
        start = time.perf_counter()
        command = [sys.executable, "-c", "from clnm.cli import main; main()", "--config", directory / "clnm.toml"]
        subprocess.run([*command, "--json", "nightly"], check=True, capture_output=True)
        whole = time.perf_counter() - start
        question = "SELECT stage_ms FROM runs WHERE command = 'nightly' ORDER BY started_at DESC LIMIT 1"
        [(stages,)] = asked(directory, question)
        seconds = {name: spent / 1000 for name, spent in json.loads(stages).items()}
        told = ", ".join(f"{name} {spent:.1f}" for name, spent in seconds.items())
        print(
            f"clnm nightly, {len(lying_there(arrivals, now)) - before} new patients: {whole:.1f} s ({told}); "
            f"check {seconds['check'] / whole:.1%}",
            flush=True,
        )


def asked(directory, question):
    with duckdb.connect(str(directory / "store" / "catalog.duckdb"), read_only=True) as connection:
        return connection.execute(question).fetchall()


def lying_there(arrivals, now):
    return [arrival for arrival in arrivals if arrival.case.exam_at < now]


def perform(config):
    """Seconds by stage, and the verdict of each center's batch."""
    seconds = {}
    with open_run(config, command="nightly") as run:
        for stage in STAGES:
            start = time.perf_counter()
            perform_all(run, (stage,))
            seconds[stage.name] = time.perf_counter() - start
            if stage is EXTRACT:
                seconds["judge"] = judge(run)
        verdicts = [count.get("verdict", "nothing new") for count in run.counts["check"].values()]
        assert not run.complaints, run.complaints
    return seconds, verdicts


def judge(run) -> float:
    """Seconds to look at every batch, beside the night: `check` does it again."""
    start = time.perf_counter()
    look_at(run.installation.store, list(run.installation.store.manifest().staged))
    return time.perf_counter() - start


def tell(name, nights) -> None:
    stages = [stage.name for stage in STAGES]
    seconds = {name: sum(night[name] for night, _ in nights) for name in (*stages, "judge")}
    whole = sum(seconds[name] for name in stages)
    verdicts = Counter(verdict for _, found in nights for verdict in found)
    print(f"{name}: {', '.join(f'{count} x {verdict}' for verdict, count in sorted(verdicts.items()))}")
    print("  seconds: " + ", ".join(f"{stage} {spent:.1f}" for stage, spent in seconds.items()))
    print(f"  of the night: judge {seconds['judge'] / whole:.1%}, check {seconds['check'] / whole:.1%}", flush=True)


if __name__ == "__main__":
    main()
