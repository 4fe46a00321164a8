"""Clinical, outcome and index tables: a hospital's own columns and words, read as text and typed by configuration."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from clnm.entities import ClinicalValue, ClinicalVariable, VariableKind
from clnm.errors import ConfigurationError, nearest

MISSING = frozenset({"", "-", "?", "n/a", "na", "nan", "none given", "not available", "unknown", "null"})
_TRUE = frozenset({"1", "1.0", "yes", "y", "true", "positive", "pos", "present", "ja"})
_FALSE = frozenset({"0", "0.0", "no", "n", "false", "negative", "neg", "absent", "nein"})
_ENCODINGS = ("utf-8-sig", "cp1252")


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


@dataclass(frozen=True, slots=True)
class Problem:
    """A value that could not be used, by the name of its variable alone."""

    variable: str
    is_out_of_range: bool


def read_rows(path: Path, table: TableFormat, *, center: str, key: str) -> list[dict[str, str]]:
    """All rows of a CSV, Parquet or XLSX file as text by column.

    Raises:
        ConfigurationError: it is missing, unreadable or has no header.
    """
    try:
        if path.suffix.lower() == ".parquet":
            rows = _parquet_rows(path)
        elif path.suffix.lower() == ".xlsx":
            rows = _xlsx_rows(path)
        else:
            rows = _csv_rows(path.read_bytes(), table)
    except FileNotFoundError:
        raise ConfigurationError(f"center {center}: the file that `{key}` names is not there") from None
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise ConfigurationError(
            f"center {center}: the file that `{key}` names is no readable table ({type(error).__name__})"
        ) from None
    return rows


def column_of(name: str, rows: Sequence[Mapping[str, str]], vocabulary: Vocabulary) -> str | None:
    """The table's column for our `name`: the mapped one, else one called like it; None where there is none."""
    wanted = vocabulary.columns.get(name, name)
    return wanted if rows and wanted in rows[0] else None


def demand_columns(tables: Mapping[str, Sequence[Mapping[str, str]]], vocabulary: Vocabulary, *, center: str) -> None:
    """Every mapped column must be in at least one of the center's tables, and each table must name the patient.

    Raises:
        ConfigurationError: one is not; the nearest column that is there is named.
    """
    there = sorted({column for rows in tables.values() for row in rows[:1] for column in row})
    for name, column in vocabulary.columns.items():
        if there and column not in there:
            raise ConfigurationError(
                f"center {center}: [center.columns] {name} = {column!r}: no such column; {nearest(column, there)}"
            )
    patient = vocabulary.columns.get("patient", "patient")
    for key, rows in tables.items():
        if rows and column_of("patient", rows, vocabulary) is None:
            raise ConfigurationError(
                f"center {center}: the table that `{key}` names has no column {patient!r} for the patient; "
                "map it in [center.columns]"
            )


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
        return flag, None if flag is not None else Problem(variable.name, is_out_of_range=False)
    for level in variable.levels:
        if level.casefold() == word.casefold():
            return level, None
    return None, Problem(variable.name, is_out_of_range=False)


def read_flag(word: str) -> bool | None:
    """Yes or no in the usual words; None for any other."""
    folded = word.strip().casefold()
    return True if folded in _TRUE else False if folded in _FALSE else None


def read_day(text: str, *, dayfirst: bool) -> datetime | None:
    """A date (or ISO moment) as midnight UTC; None where it is missing or no date."""
    word = text.strip()
    if word.casefold() in MISSING:
        return None
    try:
        moment = datetime.fromisoformat(word)
    except ValueError:
        parts = word.replace("/", ".").replace("-", ".").split(".")
        try:
            first, second, year = (int(part) for part in parts)
            month, day = (second, first) if dayfirst else (first, second)
            moment = datetime.combine(date(year, month, day), datetime.min.time())
        except ValueError:
            return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _number(word: str, variable: ClinicalVariable, decimal: str) -> tuple[float | None, Problem | None]:
    try:
        number = float(word.replace(decimal, ".") if decimal != "." else word)
    except ValueError:
        return None, Problem(variable.name, is_out_of_range=False)
    low = float("-inf") if variable.minimum is None else variable.minimum
    high = float("inf") if variable.maximum is None else variable.maximum
    if not low <= number <= high:  # also false for NaN
        return None, Problem(variable.name, is_out_of_range=True)
    return number, None


def _csv_rows(content: bytes, table: TableFormat) -> list[dict[str, str]]:
    text = _decoded(content, table.encoding)
    separator = table.separator or _sniffed(text)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    if not reader.fieldnames:
        raise ValueError("no header")
    names = [name.strip() for name in reader.fieldnames]
    return [
        dict(zip(names, ((value or "") for value in _cells(row, reader.fieldnames)), strict=True)) for row in reader
    ]


def _cells(row: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    return [row.get(name) or "" for name in names]


def _decoded(content: bytes, encoding: str | None) -> str:
    for name in (encoding,) if encoding else _ENCODINGS:
        try:
            return content.decode(name)
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1")


def _sniffed(text: str) -> str:
    header = text.split("\n", 1)[0]
    return max(",;\t|", key=header.count)


def _parquet_rows(path: Path) -> list[dict[str, str]]:
    import pyarrow.parquet as pq

    return [
        {name: "" if value is None else str(value) for name, value in row.items()}
        for row in pq.read_table(path, partitioning=None).to_pylist()
    ]


def _xlsx_rows(path: Path) -> list[dict[str, str]]:
    import zipfile

    from openpyxl import load_workbook

    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except zipfile.BadZipFile as error:
        raise ValueError("no workbook") from error
    lines = list(book.worksheets[0].iter_rows(values_only=True))
    if not lines:
        raise ValueError("no header")
    names = [str(name).strip() for name in lines[0]]
    return [
        {name: "" if cell is None else str(cell) for name, cell in zip(names, line, strict=False)} for line in lines[1:]
    ]
