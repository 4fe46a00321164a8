"""The index table of a center whose images are picture files: which patient, when, how many millimetres per pixel."""

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path

from clnm.archive.headers import without_names
from clnm.archive.pseudonyms import Pseudonyms
from clnm.archive.tables import MISSING, Sheet, read_number

_FACTS = ("patient", "study", "acquired_on", "spacing_mm", "spacing_x_mm", "spacing_y_mm", "manufacturer", "model")


@dataclass(frozen=True, slots=True, repr=False)
class IndexRow:
    """What the index table says of a picture. It prints nothing: it holds a patient's id."""

    patient: str
    study: str
    acquired_at: datetime | None
    spacing_mm: tuple[float, float] | None
    """(x, y)."""
    manufacturer: str
    model: str
    facts: tuple[str, ...]
    """The cells as they stand."""
    refusal: str = ""
    """Why the row cannot be used, as numbers and words of ours."""

    def fingerprint(self, pseudonyms: Pseudonyms) -> str:
        """A keyed hash of what the row says."""
        return pseudonyms.text("index", *self.facts, self.refusal)


@dataclass(slots=True, repr=False)
class Index:
    """Rows by the place of their image; image place and reader by the place of the mask that a row names."""

    images: dict[str, IndexRow] = field(default_factory=dict)
    masks: dict[str, tuple[str, str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    """Images that are named and not there, as written."""
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    """Patient, and the column whose word is no date or number."""


def read_index(sheet: Sheet, folder: Path, places: Iterable[str]) -> Index:
    """Lay the rows of an index table on the files that are there.

    A path is relative to the table's `folder`; a bare name, or a path that is not found so, is the one file whose place
    ends like it. An image may have several rows, one for each reader's mask; rows that contradict each other, and names
    that fit several files, are refused: a picture given to the wrong patient is worse than none.
    """
    index, by_name = Index(), _by_name(places)
    real = cache(os.path.realpath)
    for row in sheet.rows:
        written = _normalised(sheet.cell(row, "image"))
        if not written:
            continue
        found = _places(written, folder, by_name, real)
        if not found:
            index.missing.append(written)
        for place in found:
            _add(index, place, _read_row(sheet, row, index, len(found)))
        mask = _normalised(sheet.cell(row, "mask"))
        drawn = _places(mask, folder, by_name, real) if mask else []
        if len(found) == 1 and len(drawn) == 1:
            index.masks[drawn[0]] = (found[0], sheet.cell(row, "reader"))
    return index


def _add(index: Index, place: str, row: IndexRow) -> None:
    known = index.images.setdefault(place, row)
    if known.facts != row.facts:
        index.images[place] = IndexRow(
            known.patient, "", None, None, "", "", (*known.facts, *row.facts), "rows contradict each other"
        )


def _read_row(sheet: Sheet, row: Sequence[str], index: Index, n_files: int) -> IndexRow:
    patient, study = sheet.cell(row, "patient"), sheet.cell(row, "study")
    acquired_at, is_unreadable = sheet.day(row, "acquired_on")
    if is_unreadable:
        index.unreadable.append((patient, "acquired_on"))
    words = [sheet.cell(row, name) for name in ("spacing_x_mm", "spacing_y_mm")]
    words = [word or sheet.cell(row, "spacing_mm") for word in words]
    numbers = [read_number(word, sheet.vocabulary.format.decimal) for word in words]
    spacing = (numbers[0], numbers[1]) if all(number is not None and number > 0 for number in numbers) else None
    if spacing is None and any(word.casefold() not in MISSING for word in words):
        index.unreadable.append((patient, "spacing_mm"))
    names = (patient, study)
    return IndexRow(
        patient=patient,
        study=study,
        acquired_at=acquired_at,
        spacing_mm=spacing,  # type: ignore[arg-type]  # both are numbers
        manufacturer=without_names(sheet.cell(row, "manufacturer"), names),
        model=without_names(sheet.cell(row, "model"), names),
        facts=tuple(sheet.cell(row, name) for name in _FACTS),
        refusal="" if n_files == 1 else f"{n_files} files of this name",
    )


def _by_name(places: Iterable[str]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for place in places:
        found[_composed(posixpath.basename(place))].append(place)
    return found


def _composed(name: str) -> str:
    """One spelling of accents: macOS writes them into file names in two characters."""
    return unicodedata.normalize("NFC", name)


def _normalised(written: str) -> str:
    return posixpath.normpath(_composed(written).replace("\\", "/")) if written else ""


def _places(written: str, folder: Path, by_name: Mapping[str, list[str]], real: Callable[[str], str]) -> list[str]:
    """The file at the written path, be it through links, else every file whose place ends like it.

    Args:
        written: in the table.
        folder: the table's.
        by_name: the files by their last part; each place is a real path.
        real: the real path of a folder.
    """
    name = posixpath.basename(written)
    there = by_name.get(name, [])
    plain = _composed(posixpath.normpath(posixpath.join(os.fsdecode(folder), written)))
    tail = "/" + written.lstrip("./")
    found = [place for place in there if _composed(place) == plain]
    if there and not found:
        linked = _composed(posixpath.join(real(posixpath.dirname(plain)), name))
        found = [place for place in there if _composed(place) == linked]
    return found or [place for place in there if _composed(place).endswith(tail)]
