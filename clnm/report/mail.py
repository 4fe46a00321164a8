"""The morning mail: plain text, at most forty lines, for someone who reads it on a telephone."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from clnm.report.inputs import ReportInputs, records
from clnm.report.summary import not_scored, sentences
from clnm.report.words import count, moment, spoken

MAX_LINES = 40
_WIDTH = 92
_MAX_REASONS, _MAX_ALERTS = 6, 6


def morning_mail(inputs: ReportInputs) -> str:
    """What was scored, why the rest was not, and what to look at; no more than `MAX_LINES` lines."""
    meta = inputs.meta
    foot = [
        "",
        f"run {meta.run_id}, clnm {meta.code_version}, configuration {meta.config_hash}",
        "Research use only; not a medical device." + (" Simulated data." if meta.is_simulated else ""),
    ]
    lines = [f"clnm, {moment(meta.as_of)}", ""]
    lines += [line for sentence in sentences(inputs) for line in _wrap(sentence)]
    lines += _section("To mend", meta.problems, _MAX_ALERTS)
    lines += _section("Not scored", _reasons(inputs), _MAX_REASONS)
    lines += _section("Alerts", _alerts(inputs), _MAX_ALERTS)
    kept = MAX_LINES - len(foot)
    if len(lines) > kept:
        lines = [*lines[: kept - 1], "(cut short; the report has the rest)"]
    return "\n".join([*lines, *foot]) + "\n"


def _reasons(inputs: ReportInputs) -> Iterator[str]:
    for row in not_scored(inputs):
        yield f"{row['center']}: {count(row['cases'])} {row['status']}, {spoken(row['reason'] or 'no reason given')}"


def _alerts(inputs: ReportInputs) -> Iterator[str]:
    for row in records(inputs.alerts):
        yield f"{row['severity']}: {row['message']}"


def _section(title: str, entries: Iterable[str], at_most: int) -> list[str]:
    every: Sequence[str] = list(entries)
    if not every:
        return []
    lines = [line for entry in every[:at_most] for line in _wrap(entry)]
    if len(every) > at_most:
        lines.append(f"- and {len(every) - at_most} more")
    return ["", f"{title}:", *lines]


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="- ", subsequent_indent="  ")
