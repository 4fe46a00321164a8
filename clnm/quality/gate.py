"""The gate's rule: a critical finding holds the batch, a warning publishes it and says so."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from clnm.entities import Severity
from clnm.quality.suites import CheckResult


class GateVerdict(StrEnum):
    """What happens to a center's batch."""

    PUBLISH = "publish"
    """Nothing was found."""
    WARN = "warn"
    """Published; something was found that a person should look at."""
    HOLD = "hold"
    """Stays in staging until it is mended, released or dropped."""


def judge(results: Iterable[CheckResult]) -> GateVerdict:
    """The verdict over one center's results."""
    failed = {result.severity for result in results if not result.is_success}
    if Severity.CRITICAL in failed:
        return GateVerdict.HOLD
    return GateVerdict.WARN if Severity.WARNING in failed else GateVerdict.PUBLISH
