"""What is wrong with what a center sends: a batch that is held, too many files set aside, or nothing at all. Pure."""

from __future__ import annotations

from dataclasses import dataclass

_PAUSES_NEEDED = 7
_TIMES_THE_LONGEST = 3
"""After n exponential pauses the next is thrice the longest with chance 6 / ((n + 1)(n + 2)(n + 3)): 0.8 % after 7,
0.06 % after 20. Whatever the rhythm (no weekends, no holidays), the longest pause knows it after a year."""
_SHORTEST_DAYS = 2.0
"""A night that failed is told by itself."""


@dataclass(frozen=True, slots=True)
class CenterIntake:
    """A center's files, and its pauses: the days between two nights that brought images."""

    center: str
    files: int
    quarantined: int
    pauses: int
    """Within the last year."""
    longest_days: float | None
    days_since: float | None
    """Since the last night that brought images."""
    is_held: bool
    """The gate holds its batch."""


def complaint(intake: CenterIntake, max_quarantined_fraction: float) -> str | None:
    """One sentence on what is wrong with a center's intake; None where nothing is."""
    told = []
    if intake.is_held:
        told.append("the gate holds its batch, see `clnm check show`")
    if intake.quarantined > max_quarantined_fraction * intake.files:
        told.append(
            f"{intake.quarantined} of {intake.files} files are quarantined, more than {max_quarantined_fraction:.0%}"
        )
    if not intake.is_held and _is_silent(intake):
        told.append(
            f"no new image for {intake.days_since:.0f} days, where the longest of {intake.pauses} pauses was "
            f"{intake.longest_days:.0f}"
        )
    return f"{intake.center}: {'; '.join(told)}" if told else None


def _is_silent(intake: CenterIntake) -> bool:
    if intake.pauses < _PAUSES_NEEDED or intake.longest_days is None or intake.days_since is None:
        return False
    return intake.days_since > max(_SHORTEST_DAYS, _TIMES_THE_LONGEST * intake.longest_days)
