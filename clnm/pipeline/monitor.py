"""Monitor: drift and performance per center, and the alerts that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from clnm.entities import as_row
from clnm.pipeline.run import Run
from clnm.store.tables import rows

if TYPE_CHECKING:
    import pandas as pd

    from clnm.drift.alerts import AlertRow


def monitor(run: Run) -> None:
    """Compare each center's current window with its reference; judge the champion where labels have come."""
    from clnm.drift.alerts import update_alerts
    from clnm.drift.monitor import watch
    from clnm.drift.performance import Expected, realized

    store, settings = run.store, run.installation.settings
    cases = store.case_frame(run.as_of)
    champion = run.champion()
    trained_on = _training_cases(run)
    groups = _feature_groups(run, cases)
    result = watch(
        cases,
        as_of=run.as_of,
        features=tuple(groups),
        groups=groups,
        variables=settings.variables(),
        training_cases=trained_on,
        reference_days=settings.monitor.reference_days,
        current_days=settings.monitor.current_days,
        false_alarm_rate=settings.monitor.false_alarm_rate,
        centers=run.centers,
    )
    promised = None
    if champion:
        promised = Expected(champion["auc_cv"], champion["n_events"], champion["n_train"] - champion["n_events"])
    performance = realized(
        cases,
        outcome=settings.outcome.name,
        as_of=run.as_of,
        training_cases=trained_on,
        expected=promised,
        false_alarm_rate=settings.monitor.false_alarm_rate,
    )
    alerts: Sequence[AlertRow] = ()
    if not run.is_past:  # what was wrong then is no news of today
        alerts = update_alerts(
            result.health, performance, store.run_query("open_alerts"), now=run.started_at, intake=_intake(run)
        )
    quarantined = {row["center"]: row["items"] for row in store.run_query("open_quarantine_counts")}
    health = [
        {**as_row(row), "window_end": run.as_of, "n_quarantined": quarantined.get(row.center, 0)}
        for row in result.health
    ]
    with run.commit() as batch:
        batch.append("drift", rows("drift", [as_row(row) for row in result.drift]))
        batch.append("center_health", rows("center_health", health))
        batch.append("performance", rows("performance", [as_row(row) for row in performance]))
        batch.append("alerts", rows("alerts", [as_row(row) for row in alerts]))
    for row in result.health:
        told = {"verdict": row.verdict.value, "drifted": row.n_features_drifted, "tested": row.n_features_tested}
        run.count("monitor", row.center, told)


def _intake(run: Run) -> dict[str, str | None]:
    """What is wrong with each center's intake, if anything."""
    from clnm.drift.intake import CenterIntake, complaint

    held = {row["center"] for row in run.store.run_query("latest_critical_findings")} & set(run.store.manifest().staged)
    seen = run.store.run_query("intake_by_center", as_of=run.as_of)
    limit = run.installation.settings.quality.max_quarantined_fraction
    return {row["center"]: complaint(CenterIntake(**row, is_held=row["center"] in held), limit) for row in seen}


def _training_cases(run: Run) -> set[str]:
    champion = run.champion()
    if not champion:
        return set()
    found = run.store.run_query("training_cases", training_as_of=champion["training_as_of"])
    return {row["case_key"] for row in found}


def _feature_groups(run: Run, cases: pd.DataFrame) -> dict[str, str]:
    """Every column that is watched, with its group. Embeddings are not: their single numbers mean nothing."""
    settings = run.installation.settings
    groups = {name: "radiomics" for name in run.store.feature_names() if name in cases.columns}
    groups |= {variable.name: "clinical" for variable in settings.variables() if variable.name in cases.columns}
    groups |= {"probability": "score", settings.outcome.name: "outcome"}
    return groups
