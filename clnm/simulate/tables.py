"""The tables beside the pictures: clinical values and pathology in each hospital's own words, and the truth in ours."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path

from clnm.simulate.cohort import CHANCES, SHIFTS, Case
from clnm.simulate.dicom import Person
from clnm.simulate.scanners import CENTERS, Center, TableStyle

CLINICAL = ("age", "tumor_size_mm", *CHANCES)


_HEAD = """\
# A simulated archive: four make-believe hospitals with known truth. Relative paths are relative to this file.

[store]
root = "store"

[outcome]
name = "clnm"

[pseudonyms]
key_file = "secrets/pseudonym.key"
"""
_TAIL = """
[clinical]
age = { type = "number", unit = "years", min = 0, max = 120 }
tumor_size_mm = { type = "number", unit = "mm", min = 0, max = 200 }
sex = { type = "category", levels = ["female", "male"] }
tumor_shape = { type = "category", levels = ["regular", "irregular"] }
tumor_edge = { type = "category", levels = ["clear", "unclear"] }
calcification = { type = "flag" }
vascularity = { type = "category", levels = ["none", "some", "rich"] }
us_cln_positive = { type = "flag" }

[radiomics]
params = "radiomics.yaml"
"""


def clinical_csv(center: Center, cases: Sequence[Case], persons: Sequence[Person]) -> str:
    """One row per patient with the values of `CLINICAL`, written as the hospital writes."""
    style = center.table
    rows = [[style.columns[name] for name in ("patient", "acquired_on", *CLINICAL)]]
    for case, person in zip(cases, persons, strict=True):
        values = [_clinical_value(style, case, name) for name in CLINICAL]
        rows.append([person.patient_id, _day(style, case.exam_at.date()), *values])
    return _csv(rows, style.separator)


def outcomes_csv(center: Center, cases: Sequence[Case], persons: Sequence[Person], until: datetime) -> str:
    """One row per patient whose pathology was known by `until`."""
    style = center.table
    rows = [[style.columns[name] for name in ("patient", "clnm", "known_on")]]
    rows += [
        [person.patient_id, style.words["clnm"][str(int(case.outcome))], _day(style, case.known_on)]
        for case, person in zip(cases, persons, strict=True)
        if not is_pending(case, until)
    ]
    return _csv(rows, style.separator)


def truth_csv(cases: Sequence[Case], persons: Sequence[Person]) -> str:
    """The truth, for judging alone: outcome, exact posterior and every latent of every case."""
    discrete = [f"true_{name}" for name in CHANCES]
    rows = [
        [
            "patient",
            "center",
            "clnm",
            "posterior",
            "exam_at",
            "known_on",
            "is_current",
            *(f"z_{n}" for n in SHIFTS),
            *discrete,
        ]
    ]
    for case, person in zip(cases, persons, strict=True):
        rows.append(
            [
                person.patient_id,
                case.center,
                str(int(case.outcome)),
                f"{case.posterior:.9f}",
                case.exam_at.isoformat(),
                case.known_on.isoformat(),
                str(int(case.is_current)),
                *(f"{case.latents[name]:.6f}" for name in SHIFTS),
                *(case.findings[name] for name in CHANCES),
            ]
        )
    return _csv(rows, ",")


def is_pending(case: Case, until: datetime) -> bool:
    """Whether pathology has not answered yet at `until`."""
    return case.known_on > until.date()


def config_toml(more_archives: Mapping[str, Sequence[str]]) -> str:
    """The `clnm.toml` of the simulated installation; a center's archive is its folder, and what is named for it."""
    return _HEAD + "".join(_center_toml(center, more_archives.get(center.name, ())) for center in CENTERS) + _TAIL


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 with the line ends as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def _center_toml(center: Center, more_archives: Sequence[str]) -> str:
    folder, style = f"archives/{center.name}", center.table
    archive = [folder, *(f"archives/{name}" for name in more_archives)]
    lines = [
        "",
        "[[center]]",
        f'name = "{center.name}"',
        f'role = "{center.role}"',
        f"archive = {json.dumps(archive)}",
        f'masks = ["{folder}/masks"]',
        f'clinical = "{folder}/clinical.csv"',
        f'outcomes = "{folder}/outcomes.csv"',
        "[center.columns]",
        *(f'{ours} = "{theirs}"' for ours, theirs in style.columns.items()),
    ]
    for variable, words in style.words.items():
        lines.append(f"[center.values.{variable}]")
        lines += [f'"{theirs}" = {_toml_value(ours)}' for ours, theirs in words.items()]
    separator = "\\t" if style.separator == "\t" else style.separator
    lines += [
        "[center.table]",
        f'separator = "{separator}"',
        f'decimal = "{style.decimal}"',
        f"dayfirst = {str(style.dayfirst).lower()}",
        "",
    ]
    return "\n".join(lines)


def _toml_value(ours: str) -> str:
    return ours if ours in {"0", "1"} else f'"{ours}"'


def _clinical_value(style: TableStyle, case: Case, name: str) -> str:
    if name in case.missing:
        return style.missing
    if name == "age":
        return str(case.age_years)
    if name == "tumor_size_mm":
        return f"{case.size_mm:.1f}".replace(".", style.decimal)
    words: Mapping[str, str] = style.words[name]
    return words[case.findings[name]]


def _day(style: TableStyle, day: date) -> str:
    return f"{day:%d.%m.%Y}" if style.dayfirst else day.isoformat()


def _csv(rows: Sequence[Sequence[str]], separator: str) -> str:
    stream = io.StringIO()
    csv.writer(stream, delimiter=separator, lineterminator="\n").writerows(rows)
    return stream.getvalue()
