"""Monitor: drift and performance per center, and the alerts that follow from them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd

from clnm.entities import VariableKind
from clnm.pipeline.run import Run, rows


def monitor(run: Run) -> None:
    """Compare each center's current window with its reference; judge the champion where labels are there."""
    from clnm.drift.alerts import update_alerts
    from clnm.drift.monitor import watch
    from clnm.drift.performance import realized

    installation = run.installation
    store, settings = installation.store, installation.settings
    cases = store.case_frame(run.as_of, scored=True)
    groups = _feature_groups(run, cases)
    result = watch(
        cases,
        as_of=run.as_of,
        features=list(groups),
        groups=groups,
        variables=settings.variables(),
        training_cases=_training_cases(cases, run),
        reference_days=settings.monitor.reference_days,
        current_days=settings.monitor.current_days,
        false_alarm_rate=settings.monitor.false_alarm_rate,
    )
    performance = realized(cases, outcome=settings.outcome.name, as_of=run.as_of)
    alerts = update_alerts(result.health, performance, store.run_query("open_alerts"), now=run.started_at)
    quarantined = {row["center"]: row["items"] for row in store.run_query("open_quarantine_counts")}
    health = [{**asdict(row), "n_quarantined": quarantined.get(row.center, 0)} for row in result.health]
    with run.commit() as batch:
        batch.append("drift", rows("drift", [asdict(row) for row in result.drift]))
        batch.append("center_health", rows("center_health", health))
        batch.append("performance", rows("performance", [asdict(row) for row in performance]))
        if alerts:
            batch.append("alerts", rows("alerts", [asdict(row) for row in alerts]))
    for row in health:
        run.count(
            "monitor",
            row["center"],
            {"verdict": row["verdict"], "drifted": row["n_features_drifted"], "tested": row["n_features_tested"]},
        )
