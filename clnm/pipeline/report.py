"""Report: one page and one mail over what the store says, after every night."""

from __future__ import annotations

import json
from pathlib import Path

from clnm.pipeline.run import Run


def report(run: Run) -> None:
    """Write `report/index.html`, the page of this run beside it, and `report/morning.txt`.

    A run that looks back writes its own page alone: the others are this morning's.
    """
    from clnm.report.inputs import ReportInputs, ReportMeta
    from clnm.report.mail import morning_mail
    from clnm.report.pages import write_report

    store = run.store
    simulation = _simulation(run.installation.home)
    inputs = ReportInputs(
        meta=ReportMeta(
            run_id=run.run_id,
            code_version=run.lineage.code_version,
            config_hash=run.lineage.config_hash,
            as_of=run.as_of,
            outcome=run.installation.settings.outcome.name,
            is_simulated=simulation is not None,
            best_auc_external=simulation,
            problems=tuple(dict.fromkeys(str(problem) for problem in run.complaints)),
        ),
        file_counts=store.frame("status_by_center"),
        quarantine_counts=store.frame("open_quarantine_by_reason"),
        score_counts=store.frame("score_counts_by_center"),
        model_versions=store.frame("model_versions_now"),
        evaluations=store.frame("latest_evaluations"),
        predictions=store.relation("external_predictions").to_pandas(),
        center_health=store.frame("latest_health"),
        drift=store.frame("latest_drift"),
        performance=store.frame("latest_performance"),
        alerts=store.frame("open_alerts"),
        check_results=store.frame("latest_checks"),
        runs=store.frame("latest_runs"),
    )
    folder = run.installation.root / "report"
    folder.mkdir(parents=True, exist_ok=True)
    write_report(inputs, folder / f"{run.run_id}.html")
    if run.is_past:
        return
    write_report(inputs, folder / "index.html")
    (folder / "morning.txt").write_text(morning_mail(inputs), encoding="utf-8")


def _simulation(home: Path) -> float | None:
    """The best AUC anyone could reach on the external centers; None where the cases are real."""
    try:
        stamp = json.loads((home / "simulation.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return float(stamp["best_auc_external"])
