"""Clinical, outcome and index tables: a hospital's own columns and words, read as text and typed by configuration."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from clnm.entities import ClinicalValue, ClinicalVariable, VariableKind
from clnm.errors import ConfigurationError, nearest
from clnm.imaging.refusal import UNTRUSTED

MISSING = frozenset({"", "-", "?", "n/a", "na", "nan", "nat", "none", "none given", "not available", "unknown", "null"})
_TRUE = frozenset({"1", "1.0", "yes", "y", "true", "positive", "pos", "present", "ja"})
_FALSE = frozenset({"0", "0.0", "no", "n", "false", "negative", "neg", "absent", "nein"})
_ENCODINGS = ("utf-8-sig", "cp1252")
_FIRST_YEAR, _LAST_YEAR = 1900, 2200
"""Outside: a placeholder, or a year of two digits."""


@dataclass(frozen=True, slots=True)
class TableFormat:
    """How a hospital writes its CSV files; None: found by looking."""

    separator: str | None = None
    decimal: str = "."
    dayfirst: bool = False
    encoding: str | None = None


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A center's words: our name to its column, and per variable its word to ours."""

    columns: Mapping[str, str]
    values: Mapping[str, Mapping[str, Any]]
    format: TableFormat


@dataclass(frozen=True, slots=True, repr=False)
class Sheet:
    """A table as text under a center's words. It prints nothing: it holds patients."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    vocabulary: Vocabulary

    def column(self, name: str) -> int | None:
        """Where our `name` stands: the mapped column, else one called like it; None where there is none."""
        wanted = self.vocabulary.columns.get(name, name)
        return self.columns.index(wanted) if wanted in self.columns else None

    def cell(self, row: Sequence[str], name: str) -> str:
        """A row's cell under our `name`; empty where there is no such column."""
        column = self.column(name)
        return "" if column is None or column >= len(row) else row[column].strip()

    def day(self, row: Sequence[str], name: str) -> tuple[datetime | None, bool]:
        """A row's date under our `name`, and whether there is a word there that is no date."""
        word = self.cell(row, name)
        day = read_day(word, dayfirst=self.vocabulary.format.dayfirst)
        return day, day is None and word.casefold() not in MISSING


@dataclass(frozen=True, slots=True)
class Problem:
    """A value that could not be used, by the name of its variable alone."""

    variable: str
    is_out_of_range: bool = False


def read_sheet(path: Path, vocabulary: Vocabulary, *, center: str, key: str) -> Sheet:
    """All rows of a CSV, Parquet or XLSX file (its first sheet) as text.

    Raises:
        ConfigurationError: it is missing, unreadable, has no header, or a column twice.
    """
    readers = {".parquet": _parquet_lines, ".xlsx": _xlsx_lines}
    try:
        lines = readers.get(path.suffix.lower(), _csv_lines)(path.read_bytes(), vocabulary.format)
    except FileNotFoundError:
        raise ConfigurationError(
            f"center {center}: the file that `{key}` names is not there; mend `{key}` in [[center]]"
        ) from None
    except UNTRUSTED as error:
        raise ConfigurationError(
            f"center {center}: the file that `{key}` names is no readable table ({type(error).__name__}); "
            "CSV, Parquet and XLSX are read, see [center.table]"
        ) from None
    columns = tuple(name.strip() for name in lines[0]) if lines else ()
    if not any(columns):
        raise ConfigurationError(f"center {center}: the file that `{key}` names has no header line")
    sheet = Sheet(columns, tuple(tuple(line) for line in lines[1:] if any(cell.strip() for cell in line)), vocabulary)
    _refuse_doubles(sheet, center, key)
    return sheet


def demand_columns(sheets: Mapping[str, Sheet], vocabulary: Vocabulary, *, center: str) -> None:
    """Every mapped column must be in at least one of the center's tables, and each table must name the patient.

    Raises:
        ConfigurationError: one is not; the nearest column that is there is named.
    """
    there = sorted({column for sheet in sheets.values() for column in sheet.columns})
    for name, column in vocabulary.columns.items():
        if there and column not in there:
            raise ConfigurationError(
                f"center {center}: [center.columns] {name} = {column!r}: no such column; {hint(column, there)}"
            )
    for key, sheet in sheets.items():
        for name in ("patient", "image") if key == "index" else ("patient",):
            if sheet.column(name) is None:
                wanted = vocabulary.columns.get(name, name)
                raise ConfigurationError(
                    f"center {center}: the table that `{key}` names has no column {wanted!r}; map {name} in "
                    f"[center.columns]; {hint(wanted, sheet.columns)}"
                )


def hint(name: str, columns: Sequence[str]) -> str:
    """The nearest of a table's columns, or all of them; none where they are the values of a patient's row."""
    if any(read_number(column, ".") is not None or read_day(column, dayfirst=False) for column in columns):
        return "its first line holds numbers or dates: it must name the columns"
    return nearest(name, columns)


def typed_value(text: str, variable: ClinicalVariable, vocabulary: Vocabulary) -> tuple[ClinicalValue, Problem | None]:
    """A cell as its variable's type; None where it is missing, and None with a `Problem` where it cannot be used."""
    word = text.strip()
    words = {str(key).strip().casefold(): value for key, value in vocabulary.values.get(variable.name, {}).items()}
    mapped = words.get(word.casefold())
    if mapped is None and word.casefold() in MISSING:
        return None, None
    if mapped is not None:
        word = str(mapped)
    if variable.kind is VariableKind.NUMBER:
        return _number(word, variable, vocabulary.format.decimal)
    if variable.kind is VariableKind.FLAG:
        flag = read_flag(word)
        return flag, None if flag is not None else Problem(variable.name)
    for level in variable.levels:
        if level.casefold() == word.casefold():
            return level, None
    return None, Problem(variable.name)


def read_flag(word: str) -> bool | None:
    """Yes or no in the usual words; None for any other."""
    folded = word.strip().casefold()
    return True if folded in _TRUE else False if folded in _FALSE else None


def read_number(word: str, decimal: str) -> float | None:
    """A finite number with this decimal sign; None for anything else."""
    if "_" in word or (decimal != "." and "." in word):
        return None
    try:
        number = float(word.replace(decimal, "."))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def read_day(text: str, *, dayfirst: bool) -> datetime | None:
    """A date (or ISO moment) as midnight UTC; None where it is missing or no date.

    Year first is always year, month, day; parts with dots are day first, as wherever dates are written with dots.
    """
    word = text.strip()
    if word.casefold() in MISSING:
        return None
    try:
        moment = datetime.fromisoformat(word)
    except ValueError:
        found = _day_of_parts(word, dayfirst=dayfirst or "." in word)
        if found is None:
            return None
        moment = datetime.combine(found, datetime.min.time())
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _day_of_parts(word: str, *, dayfirst: bool) -> date | None:
    parts = word.split(" ", 1)[0].replace("/", ".").replace("-", ".").split(".")
    try:
        first, second, third = (int(part) for part in parts)
        if first >= _FIRST_YEAR:
            return date(first, second, third)
        return date(third, second, first) if dayfirst else date(third, first, second)
    except ValueError:
        return None


def _number(word: str, variable: ClinicalVariable, decimal: str) -> tuple[float | None, Problem | None]:
    number = read_number(word, decimal)
    if number is None:
        return None, Problem(variable.name)
    low = -math.inf if variable.minimum is None else variable.minimum
    high = math.inf if variable.maximum is None else variable.maximum
    if not low <= number <= high:
        return None, Problem(variable.name, is_out_of_range=True)
    return number, None


def _refuse_doubles(sheet: Sheet, center: str, key: str) -> None:
    """A column that is there twice is refused where it is one of ours: nobody can say which is meant."""
    for name in {"patient", "study", "image", "mask", *sheet.vocabulary.columns}:
        wanted = sheet.vocabulary.columns.get(name, name)
        if sheet.columns.count(wanted) > 1:
            raise ConfigurationError(f"center {center}: the table that `{key}` names has the column {wanted!r} twice")


def _csv_lines(content: bytes, table: TableFormat) -> list[list[str]]:
    text = _decoded(content, table.encoding)
    separator = table.separator or max(",;\t|", key=text.split("\n", 1)[0].count)
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))


def _decoded(content: bytes, encoding: str | None) -> str:
    if encoding is None and content[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        encoding = "utf-16"
    for name in (encoding,) if encoding else _ENCODINGS:
        try:
            return content.decode(name)
        except UnicodeDecodeError:
            if encoding:
                raise
    return content.decode("latin-1")


def _parquet_lines(content: bytes, table: TableFormat) -> list[list[str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = pq.read_table(pa.BufferReader(content))
    columns = [[_word(value, table.decimal) for value in column.to_pylist()] for column in found.columns]
    return [list(found.column_names), *(list(row) for row in zip(*columns, strict=True))]


def _xlsx_lines(content: bytes, table: TableFormat) -> list[list[str]]:
    from openpyxl import load_workbook

    book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    return [[_word(cell, table.decimal) for cell in line] for line in book.worksheets[0].iter_rows(values_only=True)]


def _word(cell: object, decimal: str) -> str:
    """A typed cell as a person of this hospital would have typed it: an id that was stored as 123.0 is 123."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() else str(cell).replace(".", decimal)
    return str(cell)
