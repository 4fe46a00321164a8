"""Alerts from verdicts and the alerts already open: what is raised, what goes on, what is over. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from clnm.drift.monitor import CenterHealth
from clnm.drift.performance import PerformanceRow
from clnm.entities import Severity, Verdict


class AlertKind(StrEnum):
    """What an alert is about."""

    DRIFT = "drift"
    """Inputs moved."""
    DEGRADATION = "degradation"
    """Performance fell."""
    INTAKE = "intake"
    """A batch is held, too many files were set aside, or nothing came for long."""


@dataclass(frozen=True, slots=True)
class AlertRow:
    """One row of `alerts`: an alert and the state it is in now."""

    alert_key: str
    center: str
    kind: AlertKind
    severity: Severity
    message: str
    first_raised_at: datetime
    last_raised_at: datetime
    resolved_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Finding:
    """What tonight says of one center and kind. `message` None: it is over."""

    center: str
    kind: AlertKind
    severity: Severity
    message: str | None


def update_alerts(
    health: Sequence[CenterHealth],
    performance: Sequence[PerformanceRow],
    open_alerts: Iterable[Mapping[str, Any]],
    *,
    now: datetime,
    intake: Mapping[str, str | None] | None = None,
) -> tuple[AlertRow, ...]:
    """The alerts whose state changes tonight: raised or going on (`resolved_at` None), or over.

    `open_alerts` are rows of `alerts` without `resolved_at`. `intake` tells per center what is wrong with its intake,
    None where nothing is. Where tonight is `insufficient`, an open alert stays open, untouched: no data is no cure.
    """
    known = {(row["center"], row["kind"]): row for row in open_alerts}
    findings = [*_of_health(health), *_of_performance(performance), *_of_intake(intake or {})]
    rows: list[AlertRow] = []
    for finding in findings:
        before = known.get((finding.center, finding.kind.value))
        if finding.message is not None:
            rows.append(_raise(finding, finding.message, before, now))
        elif before is not None:
            rows.append(_resolve(finding, before, now))
    return tuple(rows)


def alert_key(center: str, kind: AlertKind) -> str:
    """The key of a center's alert of one kind: the same every night, and while it is open under a new name, too."""
    return "a1-" + hashlib.sha256(f"{center}\n{kind.value}".encode()).hexdigest()[:20]


def _raise(finding: _Finding, message: str, before: Mapping[str, Any] | None, now: datetime) -> AlertRow:
    return AlertRow(
        alert_key=alert_key(finding.center, finding.kind) if before is None else before["alert_key"],
        center=finding.center,
        kind=finding.kind,
        severity=finding.severity,
        message=message,
        first_raised_at=now if before is None else before["first_raised_at"],
        last_raised_at=now,
        resolved_at=None,
    )


def _resolve(finding: _Finding, before: Mapping[str, Any], now: datetime) -> AlertRow:
    return AlertRow(
        alert_key=before["alert_key"],
        center=finding.center,
        kind=finding.kind,
        severity=Severity(before["severity"]),
        message=before["message"],
        first_raised_at=before["first_raised_at"],
        last_raised_at=before["last_raised_at"],
        resolved_at=now,
    )


def _of_health(health: Sequence[CenterHealth]) -> Iterator[_Finding]:
    for row in health:
        if row.verdict is Verdict.INSUFFICIENT:
            continue
        message = None
        if row.verdict is Verdict.DRIFT:
            message = (
                f"{row.center}: the {row.n_new_cases} cases of the current window differ from their reference "
                f"(p = {row.p_value:.1g}); {row.n_features_drifted} of {row.n_features_tested} features moved"
            )
        yield _Finding(row.center, AlertKind.DRIFT, Severity.WARNING, message)


def _of_performance(performance: Sequence[PerformanceRow]) -> Iterator[_Finding]:
    """One finding per center: critical where the AUC fell, a warning where only the counting is off."""
    for center in dict.fromkeys(row.center for row in performance):
        judged = [row for row in performance if row.center == center and row.verdict is not Verdict.INSUFFICIENT]
        worse = [row for row in judged if row.verdict is Verdict.DRIFT]
        severity = Severity.CRITICAL if any(row.metric == "auc" for row in worse) else Severity.WARNING
        told = ", ".join(f"{row.metric} {row.value:.2f} [{row.ci_low:.2f}-{row.ci_high:.2f}]" for row in worse)
        message = (
            f"{center}: the champion is not what it promised on {worse[0].n} labelled cases: {told}" if worse else None
        )
        if judged:
            yield _Finding(center, AlertKind.DEGRADATION, severity, message)


def _of_intake(intake: Mapping[str, str | None]) -> Iterator[_Finding]:
    for center, message in intake.items():
        yield _Finding(center, AlertKind.INTAKE, Severity.WARNING, message)
