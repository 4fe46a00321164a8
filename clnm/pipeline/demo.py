"""The demo: a simulated installation, and what was reached beside what anyone could have reached."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

from clnm.errors import UserError
from clnm.pipeline.installation import open_installation
from clnm.pipeline.linking import make_link_key_files
from clnm.settings import make_pseudonym_key


def simulate_installation(
    directory: Path, *, patients: int, seed: int, drift: Sequence[str], faults: bool
) -> dict[str, Any]:
    """A simulated archive, its `clnm.toml` and a pseudonym key; a second call finds what the first one made."""
    from clnm.simulate import parse_drift, simulate_archive

    simulation = simulate_archive(
        directory,
        patients=patients,
        seed=seed,
        until=datetime.combine(datetime.now(UTC).date(), time(), tzinfo=UTC),
        drift=[parse_drift(text) for text in drift],
        faults=faults,
        progress=_progress if sys.stderr.isatty() else None,
        workers=2,
    )
    installation = open_installation(directory / "clnm.toml")
    make_pseudonym_key(installation.path(installation.settings.pseudonyms.key_file))
    make_link_key_files(installation.link_key_file, installation.link_file)
    return {
        "patients": sum(simulation.patients.values()),
        "centers": dict(simulation.patients),
        "best_auc": simulation.best_auc,
        "best_auc_external": simulation.best_auc_external,
    }


def compare_with_truth(config: Path, simulation: dict[str, Any]) -> dict[str, Any]:
    """What the demo says at its end."""
    store = open_installation(config).store
    champion = store.run_query("champion")
    if not champion:
        raise UserError("the demo has no champion; see the messages above")
    reached, best = champion[0]["auc_external"], simulation["best_auc_external"]
    return {
        "reached": reached,
        "best_possible": best,
        "lines": [
            f"reached / best possible AUC on the external centers: {reached:.3f} / {best:.3f} (simulated data)",
            "next:",
            f"  clnm --config {config} status",
            f'  clnm --config {config} sql "FROM worklist LIMIT 5"',
            f"  clnm --config {config} models compare",
            f"  open {config.parent / 'store' / 'report' / 'index.html'} in a browser",
        ],
    }


def _progress(done: int, total: int) -> None:
    sys.stderr.write(f"\rsimulating {done}/{total}" + ("\n" if done == total else ""))
    sys.stderr.flush()
