"""The registry's use cases: list, show, compare, promote, roll back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clnm.entities import ModelStatus
from clnm.errors import UserError, nearest
from clnm.pipeline.installation import open_installation
from clnm.pipeline.run import Run, open_run
from clnm.store.tables import rows


def list_versions(config: Path) -> list[dict[str, Any]]:
    """Every model version as it stands now, newest first."""
    return open_installation(config).store.run_query("model_versions_now")


def compare_versions(config: Path) -> list[dict[str, Any]]:
    """The AUC of every version, cross-validated and external, with its interval."""
    return open_installation(config).store.run_query("model_comparison")


def show_version(config: Path, version: str) -> dict[str, Any]:
    """One version and its evaluations."""
    installation = open_installation(config)
    row = _find(installation.store.run_query("model_versions_now"), version)
    return {"version": row, "evaluations": installation.store.run_query("evaluations_of", version=version)}


def promote(config: Path, version: str) -> dict[str, str | None]:
    """Make `version` champion; the champion of before is retired. Each change is a row, none is overwritten."""
    with open_run(config, command="models promote") as run:
        return make_champion(run, version)


def rollback(config: Path) -> dict[str, str | None]:
    """Make the champion of before champion again.

    Raises:
        UserError: there never was another champion.
    """
    with open_run(config, command="models rollback") as run:
        retired = run.installation.store.run_query("last_retired_champion")
        if not retired:
            raise UserError("there is no champion of before to go back to; see `clnm models list`")
        return make_champion(run, retired[0]["model_version"])


def make_champion(run: Run, version: str) -> dict[str, str | None]:
    """Append the two changes of status in one commit."""
    now = run.installation.store.run_query("model_versions_now")
    chosen = _find(now, version)
    before = [row for row in now if row["status"] == ModelStatus.CHAMPION]
    if before and before[0]["model_version"] == version:
        return {"champion": version, "retired": None}
    changed = [{**row, "status": ModelStatus.RETIRED.value} for row in before]
    changed.append({**chosen, "status": ModelStatus.CHAMPION.value})
    with run.commit() as batch:
        batch.append("model_versions", rows("model_versions", changed))
    return {"champion": version, "retired": before[0]["model_version"] if before else None}


def _find(versions: list[dict[str, Any]], version: str) -> dict[str, Any]:
    for row in versions:
        if row["model_version"] == version:
            return row
    raise UserError(f"no model version {version!r}; {nearest(version, [row['model_version'] for row in versions])}")
