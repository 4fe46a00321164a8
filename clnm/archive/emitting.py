"""Rows of clinical and outcome tables that are not in the store yet, and what a center has set aside right now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from clnm.archive.entry import Kind
from clnm.archive.ledger import Aside, Ledger
from clnm.archive.pseudonyms import Pseudonyms
from clnm.archive.tables import Problem, Sheet, typed_value
from clnm.entities import (
    ClinicalRow,
    ClinicalValue,
    ClinicalVariable,
    FileStatus,
    ItemKind,
    OutcomeRow,
    Reason,
    SetAside,
    VariableKind,
)

Place = tuple[str, str]
"""What an aside is known by: item_key and kind."""
_OF_TABLES = frozenset({Reason.VALUE_OUT_OF_RANGE, Reason.VALUE_UNREADABLE, Reason.MISSING_TAG, Reason.MISSING_IMAGE})
_CASE, _FILE = ItemKind.CASE.value, ItemKind.FILE.value


@dataclass(slots=True, repr=False)
class TableRows:
    """What a center's tables say that was not said before."""

    center: str
    pseudonyms: Pseudonyms
    seen_at: datetime
    emitted: frozenset[str]
    """What the tables said when they were last read; a word that came back since is news again."""
    said: set[str] = field(default_factory=set)
    """What they say now."""
    clinical: list[ClinicalRow] = field(default_factory=list)
    outcomes: list[OutcomeRow] = field(default_factory=list)
    asides: dict[Place, Aside] = field(default_factory=dict)
    patients: set[str] = field(default_factory=set)
    raw_ids: dict[str, str] = field(default_factory=dict)
    """The hospital's own ids, by patient_key."""

    def read_clinical(self, sheet: Sheet, variables: Sequence[ClinicalVariable]) -> None:
        """Every row as typed values; what cannot be used is null and listed."""
        there = [variable for variable in variables if sheet.column(variable.name) is not None]
        for row in sheet.rows if there else ():
            key = self._patient(sheet, row)
            if key is None:
                continue
            values: dict[str, ClinicalValue] = dict.fromkeys(variable.name for variable in variables)
            values |= {variable.name: self._value(sheet, row, variable, key) for variable in there}
            study, acquired_at, known_on = self._frame(sheet, row, key)
            if self._is_news("clinical", key, study, acquired_at, known_on, *(values[v.name] for v in variables)):
                known_at = known_on or self.seen_at
                self.clinical.append(ClinicalRow(key, study, self.center, acquired_at, known_at, values))

    def read_outcomes(self, sheet: Sheet, outcome: str) -> None:
        """Every answer of pathology; a missing one is no row."""
        variable = ClinicalVariable(outcome, VariableKind.FLAG)
        for row in sheet.rows if sheet.column(outcome) is not None else ():
            key = self._patient(sheet, row)
            if key is None:
                continue
            value = self._value(sheet, row, variable, key)
            study, acquired_at, known_on = self._frame(sheet, row, key)
            if isinstance(value, bool) and self._is_news("outcome", key, study, acquired_at, known_on, value):
                known_at = known_on or self.seen_at
                self.outcomes.append(OutcomeRow(key, study, self.center, acquired_at, known_at, value))

    def set_aside(self, key: str, reason: Reason, detail: str) -> None:
        """List something about a case; several details of one are listed together."""
        place = (key, _CASE)
        known = self.asides.get(place)
        if known is not None:
            detail = ", ".join(sorted({*known.detail.split(", "), detail}))
            reason = Reason(known.reason)
        self.asides[place] = Aside(key, _CASE, reason.value, detail, self.seen_at)

    def _patient(self, sheet: Sheet, row: Sequence[str]) -> str | None:
        raw = sheet.cell(row, "patient")
        if not raw:
            place = self.pseudonyms.text("row", self.pseudonyms.named(self.center), *row)
            self.set_aside(place, Reason.MISSING_TAG, "patient")
            return None
        key = self.pseudonyms.patient(self.center, raw)
        self.patients.add(key)
        self.raw_ids[key] = raw
        return key

    def _frame(self, sheet: Sheet, row: Sequence[str], key: str) -> tuple[str | None, datetime | None, datetime | None]:
        """The row's study, and when it was true and known."""
        raw = sheet.cell(row, "study")
        days = []
        for name in ("acquired_on", "known_on"):
            day, is_unreadable = sheet.day(row, name)
            if is_unreadable:
                self.set_aside(key, Reason.VALUE_UNREADABLE, name)
            days.append(self.pseudonyms.shifted(key, day))
        return (self.pseudonyms.study(self.center, raw) if raw else None), days[0], days[1]

    def _value(self, sheet: Sheet, row: Sequence[str], variable: ClinicalVariable, key: str) -> ClinicalValue:
        value, problem = typed_value(sheet.cell(row, variable.name), variable, sheet.vocabulary)
        if problem is not None:
            self.set_aside(key, _reason_of(problem), problem.variable)
        return value

    def _is_news(self, table: str, *facts: object) -> bool:
        """Whether this very row (patient, clocks, typed values) was not told before; it is kept as a keyed hash."""
        digest = digest_of(self.pseudonyms, table, *facts)
        is_news = digest not in self.emitted and digest not in self.said
        self.said.add(digest)
        return is_news


def digest_of(pseudonyms: Pseudonyms, table: str, *facts: object) -> str:
    """The keyed hash by which a row of a table is known again: patient, study, acquired_at, known_on, values."""
    return pseudonyms.text(table, *(repr(fact) for fact in facts))


def file_asides(ledger: Ledger, seen_at: datetime) -> dict[Place, Aside]:
    """Quarantined files, and ingested images that nobody has drawn on."""
    found: dict[Place, Aside] = {}
    for entry in ledger.where("status", [FileStatus.QUARANTINED.value]):
        found[entry.file_key, _FILE] = Aside(entry.file_key, _FILE, entry.reason, entry.detail, entry.last_seen_at)
    is_in = pc.equal(ledger.column("status"), FileStatus.INGESTED.value)
    kinds, images = ledger.column("kind"), ledger.column("image_key")
    drawn = images.filter(pc.and_(is_in, pc.equal(kinds, Kind.MASK.value)))
    bare = pc.and_(pc.equal(kinds, Kind.IMAGE.value), pc.invert(pc.is_in(images, value_set=drawn.combine_chunks())))
    for key in images.filter(pc.and_(is_in, bare)).to_pylist():
        found[key, _CASE] = Aside(key, _CASE, Reason.NO_MASK.value, "", seen_at)
    return found


def unmatched_asides(patients: Iterable[str], ledger: Ledger, seen_at: datetime) -> dict[Place, Aside]:
    """Patients of the tables without an image."""
    keys = pa.array(sorted(patients), pa.string())
    imaged = ledger.column("patient_key").combine_chunks()
    return {
        (key, _CASE): Aside(key, _CASE, Reason.UNMATCHED_ROW.value, "", seen_at)
        for key in keys.filter(pc.invert(pc.is_in(keys, value_set=imaged))).to_pylist()
    }


def table_asides(asides: Iterable[Aside]) -> dict[Place, Aside]:
    """Of what was set aside before: what the tables alone are the cause of."""
    return {(a.item_key, a.kind): a for a in asides if a.kind == _CASE and a.reason in _OF_TABLES}


def changes(
    center: str, before: Iterable[Aside], now: Mapping[Place, Aside], attempts: Mapping[str, int], seen_at: datetime
) -> tuple[list[SetAside], tuple[Aside, ...]]:
    """The quarantine rows to append (newly set aside, changed, resolved), and what is open after them."""
    old = {(aside.item_key, aside.kind): aside for aside in before}
    rows, still = [], []
    for place, aside in sorted(now.items()):
        known = old.get(place)
        if known is not None:
            aside = replace(aside, first_seen_at=known.first_seen_at)  # noqa: PLW2901 - the same thing, seen before
        still.append(aside)
        if aside != known:
            rows.append(_row(center, aside, attempts, None))
    rows += [_row(center, aside, attempts, seen_at) for place, aside in sorted(old.items()) if place not in now]
    return rows, tuple(still)


def _reason_of(problem: Problem) -> Reason:
    return Reason.VALUE_OUT_OF_RANGE if problem.is_out_of_range else Reason.VALUE_UNREADABLE


def _row(center: str, aside: Aside, attempts: Mapping[str, int], resolved_at: datetime | None) -> SetAside:
    return SetAside(
        item_key=aside.item_key,
        kind=ItemKind(aside.kind),
        center=center,
        reason=Reason(aside.reason),
        detail=aside.detail,
        first_seen_at=aside.first_seen_at,
        attempts=attempts.get(aside.item_key, 1),
        resolved_at=resolved_at,
    )
