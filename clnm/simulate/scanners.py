"""The four make-believe hospitals: their scanners, and how they write files and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from clnm.entities import Role


@dataclass(frozen=True, slots=True)
class Scanner:
    """One ultrasound machine with the settings its hospital uses."""

    manufacturer: str
    model: str
    frequency_mhz: float
    focus_mm: float
    gain_db: float
    dynamic_range_db: float
    spacing_mm: float
    """Side of a (square) pixel."""
    region_px: tuple[int, int]
    """Rows and columns of the ultrasound region."""
    frame_px: tuple[int, int]
    """Rows and columns of the whole frame, with text around the region."""
    origin_px: tuple[int, int]
    """Row and column of the region's upper left pixel in the frame."""


@dataclass(frozen=True, slots=True)
class TableStyle:
    """How a hospital writes its CSV files: its own columns, words, separator and dates."""

    separator: str
    decimal: str
    dayfirst: bool
    columns: Mapping[str, str]
    """Our name to the hospital's column."""
    words: Mapping[str, Mapping[str, str]]
    """Our variable to the hospital's word for each of our values (`"1"` and `"0"` for flags)."""
    missing: str
    """What stands where a value is missing."""


@dataclass(frozen=True, slots=True)
class Center:
    """One hospital."""

    name: str
    role: Role
    share: int
    """Patients among 214."""
    institution: str
    scanner: Scanner
    table: TableStyle = field(repr=False)


_C1 = Scanner("Aurora Imaging", "AX-7", 10.0, 15.0, 0.0, 60.0, 0.085, (430, 580), (520, 720), (48, 56))
_C2 = Scanner("Borealis Medical", "Sono 12", 11.5, 13.0, 1.5, 64.0, 0.078, (460, 600), (548, 752), (56, 70))
_C3 = Scanner("Cirrus Ultrasound", "C300", 9.0, 16.0, -1.0, 58.0, 0.092, (410, 560), (496, 704), (44, 60))
_C4 = Scanner("Delta Echo", "DE Vision", 10.5, 14.0, 0.5, 62.0, 0.082, (440, 570), (528, 712), (52, 64))

_ENGLISH = TableStyle(
    ",",
    ".",
    False,
    {
        "patient": "Patient ID",
        "acquired_on": "Exam date",
        "known_on": "Pathology date",
        "age": "Age at exam",
        "sex": "Sex",
        "tumor_size_mm": "Size (mm)",
        "tumor_shape": "Shape",
        "tumor_edge": "Margin",
        "calcification": "Calcification",
        "vascularity": "Blood flow",
        "us_cln_positive": "Suspicious node on US",
        "clnm": "Node metastasis",
    },
    {
        "sex": {"female": "F", "male": "M"},
        "tumor_shape": {"regular": "regular", "irregular": "irregular"},
        "tumor_edge": {"clear": "well-defined", "unclear": "ill-defined"},
        "calcification": {"1": "present", "0": "absent"},
        "vascularity": {"none": "none", "some": "some", "rich": "rich"},
        "us_cln_positive": {"1": "positive", "0": "negative"},
        "clnm": {"1": "positive", "0": "negative"},
    },
    "n/a",
)
_GERMAN = TableStyle(
    ";",
    ",",
    True,
    {
        "patient": "Fallnummer",
        "acquired_on": "Untersuchung am",
        "known_on": "Befund vom",
        "age": "Alter",
        "sex": "Geschlecht",
        "tumor_size_mm": "Durchmesser mm",
        "tumor_shape": "Form",
        "tumor_edge": "Rand",
        "calcification": "Kalk",
        "vascularity": "Durchblutung",
        "us_cln_positive": "LK auffaellig",
        "clnm": "LK Metastase",
    },
    {
        "sex": {"female": "w", "male": "m"},
        "tumor_shape": {"regular": "rund", "irregular": "unregelmaessig"},
        "tumor_edge": {"clear": "scharf", "unclear": "unscharf"},
        "calcification": {"1": "ja", "0": "nein"},
        "vascularity": {"none": "keine", "some": "gering", "rich": "stark"},
        "us_cln_positive": {"1": "ja", "0": "nein"},
        "clnm": {"1": "ja", "0": "nein"},
    },
    "",
)
_ABBREVIATED = TableStyle(
    ",",
    ".",
    False,
    {
        "patient": "pid",
        "acquired_on": "dt",
        "known_on": "path_dt",
        "age": "age_y",
        "sex": "gender_f",
        "tumor_size_mm": "maxd",
        "tumor_shape": "shp_irr",
        "tumor_edge": "edg_uncl",
        "calcification": "calc",
        "vascularity": "cdfi",
        "us_cln_positive": "us_ln",
        "clnm": "ln_met",
    },
    {
        "sex": {"female": "1", "male": "0"},
        "tumor_shape": {"regular": "0", "irregular": "1"},
        "tumor_edge": {"clear": "0", "unclear": "1"},
        "calcification": {"1": "1", "0": "0"},
        "vascularity": {"none": "0", "some": "1", "rich": "2"},
        "us_cln_positive": {"1": "1", "0": "0"},
        "clnm": {"1": "1", "0": "0"},
    },
    "",
)
_WORDY = TableStyle(
    "\t",
    ".",
    True,
    {
        "patient": "CaseNo",
        "acquired_on": "ScanDate",
        "known_on": "ReportDate",
        "age": "Years",
        "sex": "M/F",
        "tumor_size_mm": "Longest diameter [mm]",
        "tumor_shape": "Irregular shape",
        "tumor_edge": "Unclear edge",
        "calcification": "Calcified",
        "vascularity": "Flow",
        "us_cln_positive": "Node suspected",
        "clnm": "Final pathology",
    },
    {
        "sex": {"female": "Female", "male": "Male"},
        "tumor_shape": {"regular": "no", "irregular": "yes"},
        "tumor_edge": {"clear": "no", "unclear": "yes"},
        "calcification": {"1": "yes", "0": "no"},
        "vascularity": {"none": "absent", "some": "spotty", "rich": "abundant"},
        "us_cln_positive": {"1": "yes", "0": "no"},
        "clnm": {"1": "metastatic", "0": "benign nodes"},
    },
    "n/a",
)

CENTERS = (
    Center("C1", Role.TRAIN, 80, "Aldermoor General Hospital", _C1, _ENGLISH),
    Center("C2", Role.TRAIN, 64, "Klinikum Birkental", _C2, _GERMAN),
    Center("C3", Role.EXTERNAL, 38, "Carrow Bridge Infirmary", _C3, _ABBREVIATED),
    Center("C4", Role.EXTERNAL, 32, "Dunlin Bay Medical Centre", _C4, _WORDY),
)
"""144 patients to train on, 70 external."""


def louder(scanner: Scanner) -> Scanner:
    """The same machine after somebody turned the gain up by 7 dB (drift `gain`)."""
    return replace(scanner, gain_db=scanner.gain_db + 7.0)


def replaced(scanner: Scanner) -> Scanner:
    """Another machine in the same room (drift `scanner`): lower frequency, harder contrast, other pixels and maker."""
    return replace(
        scanner,
        manufacturer="Ember Systems",
        model="E1",
        frequency_mhz=scanner.frequency_mhz * 0.7,
        dynamic_range_db=scanner.dynamic_range_db - 12.0,
        spacing_mm=scanner.spacing_mm * 1.15,
    )
