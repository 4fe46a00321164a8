"""Watches the centers: which of them moved, which features say so, and where there is too little to tell.

Two questions, two guards. *Did this center move?* Its p-values are combined by Simes and adjusted over the centers by
Holm, so that the chance of any false center alarm in a night stays below `false_alarm_rate` even while another center
truly drifts. *Which features moved?* Those with a Benjamini-Hochberg q-value (over all centers together) below the same
rate, inside a center that moved: plain q-values would lend one center's discoveries to the innocent others. In both,
each group of features (radiomics, clinical, score, outcome) has an equal share of the false alarms: in one pot, the
outcome's one p-value would drown among 1,500 of radiomics. Choosing among families first and naming within the chosen
ones follows Benjamini & Bogomolov 2014, doi:10.1111/rssb.12028; the sources of the three procedures stand with them in
`clnm.drift.statistics`.
Features of a scanner differ by hospital, so a center is compared with its own past wherever there is enough of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from clnm.drift.compare import Comparison, Enough, compare, without
from clnm.drift.statistics import benjamini_hochberg, holm, simes
from clnm.entities import ClinicalVariable, VariableKind, Verdict

MIN_REFERENCE = 15
MIN_CURRENT = 10
"""The smallest samples that can name a feature among 6,000: the least exact p at 15 against 10 is 6e-7."""
OWN, TRAINING = "own", "training"


@dataclass(frozen=True, slots=True)
class Windows:
    """What is measured (`current_start`, `current_end`], and from what: (`reference_start`, `current_start`]."""

    reference_start: datetime
    current_start: datetime
    current_end: datetime


@dataclass(frozen=True, slots=True)
class DriftRow:
    """One row of `drift`. Value, p, q and effect are None where the verdict is `insufficient`."""

    center: str
    feature: str
    feature_group: str
    window_start: datetime
    window_end: datetime
    reference: str
    """`own` (the center's earlier cases) or `training` (the champion's cohort)."""
    n_reference: int
    n_current: int
    statistic: str
    value: float | None
    p_value: float | None
    q_value: float | None
    effect: float | None
    """Shift of the median in robust standard deviations; of a flag or category the change of a share."""
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class CenterHealth:
    """One row of `center_health`, but for what the quarantine knows."""

    center: str
    verdict: Verdict
    p_value: float | None
    n_features_tested: int
    n_features_drifted: int
    n_new_cases: int


@dataclass(frozen=True, slots=True)
class MonitorResult:
    """A night's verdicts: one row per center and feature, one per center."""

    windows: Windows
    drift: tuple[DriftRow, ...]
    health: tuple[CenterHealth, ...]


def place_windows(as_of: datetime, *, reference_days: int, current_days: int) -> Windows:
    """The current window ends at `as_of`, the reference where the current one begins."""
    current_start = as_of - timedelta(days=current_days)
    return Windows(current_start - timedelta(days=reference_days), current_start, as_of)


def watch(
    cases: pd.DataFrame,
    *,
    as_of: datetime,
    features: Sequence[str],
    groups: Mapping[str, str],
    variables: Sequence[ClinicalVariable],
    training_cases: Collection[str],
    reference_days: int,
    current_days: int,
    false_alarm_rate: float,
    centers: Sequence[str] | None = None,
    min_reference: int = MIN_REFERENCE,
    min_current: int = MIN_CURRENT,
) -> MonitorResult:
    """Compare each center's current window with its reference.

    `cases`: one row per case (`case_key, center, acquired_at`, and the features). `groups` names each feature's group;
    one of group `outcome`, or of a clinical flag or category, is compared by counts, all else as a number. Scores of
    `training_cases` are left out: the model knew their outcome, so they differ from new ones without any drift.
    `centers` (default: those of `cases`) also lists the ones without a case, which are `insufficient`.
    """
    windows = place_windows(as_of, reference_days=reference_days, current_days=current_days)
    kinds = {name: VariableKind.FLAG for name in features if groups[name] == "outcome"}
    kinds |= {variable.name: variable.kind for variable in variables}
    question = _Question(tuple(features), groups, kinds, frozenset(training_cases), Enough(min_reference, min_current))
    names = sorted(set(cases["center"]) if centers is None else set(centers))
    rows = [row for center in names for row in _compare_center(cases, center, windows, question)]
    is_current = _is_between(cases, windows.current_start, windows.current_end)
    new_cases = {name: int((is_current & (cases["center"] == name)).sum()) for name in names}
    return MonitorResult(windows, *_judge(rows, new_cases, false_alarm_rate))


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked of every center."""

    features: tuple[str, ...]
    groups: Mapping[str, str]
    kinds: Mapping[str, VariableKind]
    training_cases: frozenset[str]
    enough: Enough

    def compare(self, reference: pd.DataFrame, current: pd.DataFrame) -> dict[str, Comparison]:
        """All features; those of group `score` without the cases the model was trained on."""
        scores = [name for name in self.features if self.groups[name] == "score"]
        others = [name for name in self.features if self.groups[name] != "score"]
        found = compare(reference, current, others, kinds=self.kinds, enough=self.enough)
        if scores:
            before, after = (without(frame, self.training_cases) for frame in (reference, current))
            found |= compare(before, after, scores, kinds=self.kinds, enough=self.enough)
        return found


def _is_between(cases: pd.DataFrame, start: datetime, end: datetime) -> pd.Series:
    """Acquired in (start, end]; a case without a date is in no window."""
    acquired_at = pd.to_datetime(cases["acquired_at"], utc=True)
    return (acquired_at > start) & (acquired_at <= end)


def _compare_center(cases: pd.DataFrame, center: str, windows: Windows, question: _Question) -> Iterator[DriftRow]:
    """The center's rows, not yet judged: q-value None, verdict `insufficient`."""
    is_mine = cases["center"] == center
    is_current = _is_between(cases, windows.current_start, windows.current_end)
    is_past = _is_between(cases, windows.reference_start, windows.current_start)
    own, kind = cases[is_mine & is_past], OWN
    if len(own) < question.enough.reference:
        is_trained = cases["case_key"].isin(list(question.training_cases))
        own, kind = cases[is_trained & ~(is_mine & is_current)], TRAINING
    for name, found in question.compare(own, cases[is_mine & is_current]).items():
        yield DriftRow(
            center=center,
            feature=name,
            feature_group=question.groups[name],
            window_start=windows.current_start,
            window_end=windows.current_end,
            reference=kind,
            n_reference=found.n_reference,
            n_current=found.n_current,
            statistic=found.statistic,
            value=found.value,
            p_value=found.p_value,
            q_value=None,
            effect=found.effect,
            verdict=Verdict.INSUFFICIENT,
        )


def _judge(
    rows: Sequence[DriftRow], new_cases: Mapping[str, int], false_alarm_rate: float
) -> tuple[tuple[DriftRow, ...], tuple[CenterHealth, ...]]:
    tested = [row for row in rows if row.p_value is not None]
    q_values = _q_values(tested)
    combined = _combine_by_center(tested)
    judged: list[DriftRow] = []
    for row in rows:
        if row.p_value is None:
            judged.append(row)
            continue
        q_value = q_values[_place(row)]
        has_moved = q_value <= false_alarm_rate and combined[row.center] <= false_alarm_rate
        judged.append(replace(row, q_value=q_value, verdict=Verdict.DRIFT if has_moved else Verdict.STABLE))
    health = tuple(
        _sum_up(center, judged, combined.get(center), n, false_alarm_rate) for center, n in new_cases.items()
    )
    return tuple(judged), health


def _place(row: DriftRow) -> tuple[str, str]:
    return row.center, row.feature


def _q_values(tested: Sequence[DriftRow]) -> dict[tuple[str, str], float]:
    """Benjamini-Hochberg over all centers within each group of features, times the number of groups."""
    groups = _by_group(tested)
    return {
        _place(row): min(1.0, len(groups) * q_value)
        for rows in groups.values()
        for row, q_value in zip(rows, benjamini_hochberg(_p_values(rows)).tolist(), strict=True)
    }


def _by_group(rows: Iterable[DriftRow]) -> dict[str, list[DriftRow]]:
    found: dict[str, list[DriftRow]] = {}
    for row in rows:
        found.setdefault(row.feature_group, []).append(row)
    return found


def _p_values(rows: Sequence[DriftRow]) -> np.ndarray:
    return np.array([row.p_value for row in rows], dtype=float)


def _combine_by_center(tested: Sequence[DriftRow]) -> dict[str, float]:
    """Each tested center's Simes p-value within each group, Bonferroni over the groups, Holm over the centers."""
    centers = list(dict.fromkeys(row.center for row in tested))
    combined = []
    for center in centers:
        groups = _by_group(row for row in tested if row.center == center)
        combined.append(min(1.0, len(groups) * min(simes(_p_values(rows)) for rows in groups.values())))
    return dict(zip(centers, holm(np.array(combined)).tolist(), strict=True))


def _sum_up(
    center: str, rows: Sequence[DriftRow], p_value: float | None, n_new_cases: int, false_alarm_rate: float
) -> CenterHealth:
    verdicts = [row.verdict for row in rows if row.center == center]
    verdict = Verdict.INSUFFICIENT
    if p_value is not None:
        verdict = Verdict.DRIFT if p_value <= false_alarm_rate else Verdict.STABLE
    return CenterHealth(
        center=center,
        verdict=verdict,
        p_value=p_value,
        n_features_tested=sum(each is not Verdict.INSUFFICIENT for each in verdicts),
        n_features_drifted=verdicts.count(Verdict.DRIFT),
        n_new_cases=n_new_cases,
    )
