"""Rows of clinical and outcome tables that are not in the store yet, and what a center has set aside right now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from clnm.archive.ledger import Aside, Entry, Kind
from clnm.archive.pseudonyms import Pseudonyms
from clnm.archive.tables import Vocabulary, column_of, read_day, typed_value
from clnm.entities import (
    ClinicalRow,
    ClinicalVariable,
    FileStatus,
    ItemKind,
    OutcomeRow,
    Reason,
    SetAside,
    VariableKind,
)

Rows = Sequence[Mapping[str, str]]


@dataclass(slots=True)
class TableRows:
    """What a center's tables say that was not said before."""

    center: str
    pseudonyms: Pseudonyms
    seen_at: datetime
    vocabulary: Vocabulary
    emitted: set[str]
    clinical: list[ClinicalRow] = field(default_factory=list)
    outcomes: list[OutcomeRow] = field(default_factory=list)
    asides: dict[tuple[str, str], Aside] = field(default_factory=dict)
    patients: set[str] = field(default_factory=set)

    def read_clinical(self, rows: Rows, variables: Sequence[ClinicalVariable]) -> None:
        """Every row as typed values; what cannot be used is null and listed."""
        there = [v for v in variables if column_of(v.name, rows, self.vocabulary)]
        if not there:
            return
        for row in rows:
            key = self._patient(row, rows)
            if key is None:
                continue
            values = dict.fromkeys((v.name for v in variables), None) | {
                v.name: self._value(row, rows, v, key) for v in there
            }
            if self._is_news("clinical", row, rows, [*(v.name for v in there)]):
                self.clinical.append(
                    ClinicalRow(
                        key,
                        self._study(row, rows),
                        self.center,
                        self._day(row, rows, "acquired_on"),
                        self._known_at(row, rows),
                        values,
                    )
                )

    def read_outcomes(self, rows: Rows, outcome: str) -> None:
        """Every answer of pathology; a missing one is no row."""
        variable = ClinicalVariable(outcome, VariableKind.FLAG)
        if column_of(outcome, rows, self.vocabulary) is None:
            return
        for row in rows:
            key = self._patient(row, rows)
            if key is None:
                continue
            value = self._value(row, rows, variable, key)
            if isinstance(value, bool) and self._is_news("outcome", row, rows, [outcome]):
                self.outcomes.append(
                    OutcomeRow(
                        key,
                        self._study(row, rows),
                        self.center,
                        self._day(row, rows, "acquired_on"),
                        self._known_at(row, rows),
                        value,
                    )
                )

    def _cell(self, row: Mapping[str, str], rows: Rows, name: str) -> str:
        column = column_of(name, rows, self.vocabulary)
        return row.get(column, "").strip() if column else ""

    def _patient(self, row: Mapping[str, str], rows: Rows) -> str | None:
        raw = self._cell(row, rows, "patient")
        if not raw:
            key = self.pseudonyms.text("row", self.center, *row.values())
            self._set_aside(key, Reason.MISSING_TAG, "patient")
            return None
        key = self.pseudonyms.patient(self.center, raw)
        self.patients.add(key)
        return key

    def _study(self, row: Mapping[str, str], rows: Rows) -> str | None:
        raw = self._cell(row, rows, "study")
        return self.pseudonyms.study(self.center, raw) if raw else None

    def _day(self, row: Mapping[str, str], rows: Rows, name: str) -> datetime | None:
        return read_day(self._cell(row, rows, name), dayfirst=self.vocabulary.format.dayfirst)

    def _known_at(self, row: Mapping[str, str], rows: Rows) -> datetime:
        return self._day(row, rows, "known_on") or self.seen_at

    def _value(self, row: Mapping[str, str], rows: Rows, variable: ClinicalVariable, key: str) -> object:
        value, problem = typed_value(self._cell(row, rows, variable.name), variable, self.vocabulary)
        if problem is not None:
            reason = Reason.VALUE_OUT_OF_RANGE if problem.is_out_of_range else Reason.VALUE_UNREADABLE
            self._set_aside(self.pseudonyms.text("value", key, variable.name), reason, variable.name)
        return value

    def _is_news(self, table: str, row: Mapping[str, str], rows: Rows, names: Sequence[str]) -> bool:
        """Whether this very row (patient, clocks, values) was emitted before; it is kept as a keyed hash."""
        cells = [self._cell(row, rows, name) for name in ("patient", "study", "acquired_on", "known_on", *names)]
        digest = self.pseudonyms.text(table, *cells)
        if digest in self.emitted:
            return False
        self.emitted.add(digest)
        return True

    def _set_aside(self, key: str, reason: Reason, detail: str) -> None:
        self.asides[key, ItemKind.CASE.value] = Aside(key, ItemKind.CASE.value, reason.value, detail, self.seen_at)


def file_asides(entries: Iterable[Entry], seen_at: datetime) -> dict[tuple[str, str], Aside]:
    """Quarantined files, and ingested images that nobody has drawn on."""
    found: dict[tuple[str, str], Aside] = {}
    kept = list(entries)
    drawn = {e.image_key for e in kept if e.kind is Kind.MASK and e.status is FileStatus.INGESTED}
    for entry in kept:
        if entry.status is FileStatus.QUARANTINED:
            kind = ItemKind.FILE.value
            found[entry.file_key, kind] = Aside(entry.file_key, kind, entry.reason, entry.detail, entry.first_seen_at)
        elif entry.kind is Kind.IMAGE and entry.status is FileStatus.INGESTED and entry.image_key not in drawn:
            kind = ItemKind.CASE.value
            assert entry.image_key is not None
            found[entry.image_key, kind] = Aside(entry.image_key, kind, Reason.NO_MASK.value, "", seen_at)
    return found


def unmatched_asides(
    patients: Iterable[str], entries: Iterable[Entry], seen_at: datetime
) -> dict[tuple[str, str], Aside]:
    """Patients of the tables without an image."""
    imaged = {entry.patient_key for entry in entries if entry.kind is Kind.IMAGE and entry.image_key}
    kind = ItemKind.CASE.value
    return {
        (key, kind): Aside(key, kind, Reason.UNMATCHED_ROW.value, "", seen_at) for key in sorted(set(patients) - imaged)
    }


def changes(
    center: str,
    before: Iterable[Aside],
    now: Mapping[tuple[str, str], Aside],
    attempts: Mapping[str, int],
    seen_at: datetime,
) -> tuple[list[SetAside], tuple[Aside, ...]]:
    """The quarantine rows to append (newly set aside, changed, resolved), and what is open after them."""
    old = {(aside.item_key, aside.kind): aside for aside in before}
    rows, still = [], []
    for place, aside in now.items():
        first = old[place].first_seen_at if place in old else aside.first_seen_at
        still.append(Aside(aside.item_key, aside.kind, aside.reason, aside.detail, first))
        is_same = place in old and (old[place].reason, old[place].detail) == (aside.reason, aside.detail)
        if not is_same:
            rows.append(_row(center, still[-1], attempts, None))
    rows += [_row(center, aside, attempts, seen_at) for place, aside in old.items() if place not in now]
    return rows, tuple(still)


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
