"""The words of the platform as frozen values: what the layers hand to each other.

Nothing here reads a file, a clock or the settings. Every time is an aware UTC `datetime`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

CODE_VERSION = "0.1.0"
"""Written to every row as `code_version`."""


class Role(StrEnum):
    """What a center's cases may be used for."""

    TRAIN = "train"
    """Trained on, cross-validated by patient."""
    EXTERNAL = "external"
    """Labelled, never trained on: the models are judged here."""
    SCORE = "score"
    """Scored only; no labels expected."""


class FileStatus(StrEnum):
    """The one state every file or archive member is in."""

    INGESTED = "ingested"
    """Read, accepted, and in use as image, mask or table."""
    DUPLICATE = "duplicate"
    """Byte for byte a file that is already ingested."""
    IGNORED = "ignored"
    """By rule not for us (a readme, a DICOMDIR, a structured report)."""
    QUARANTINED = "quarantined"
    """Set aside with a reason; looked at again when it changes or on `clnm quarantine retry`."""
    PENDING = "pending"
    """Not looked at yet: still being copied, or waiting for its partner."""
    GONE = "gone"
    """Seen in an earlier run, no longer at the source. Its rows stay."""


class Reason(StrEnum):
    """Why a file, ROI or case is not simply `ingested`. One code, one cure: see docs/intake.md."""

    # files
    EMPTY = "empty"
    NOT_AN_IMAGE = "not_an_image"
    NOT_DICOM = "not_dicom"
    NO_META = "no_meta"
    TRUNCATED_HEADER = "truncated_header"
    TRUNCATED_PIXELS = "truncated_pixels"
    SIZE_MISMATCH = "size_mismatch"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    UNSUPPORTED_SYNTAX = "unsupported_syntax"
    VIDEO_CODEC = "video_codec"
    MISSING_TAG = "missing_tag"
    NO_PIXELS = "no_pixels"
    SOP_CLASS = "sop_class"
    DECODE_FAILED = "decode_failed"
    DECODER_CRASH = "decoder_crash"
    DUPLICATE_OF = "duplicate_of"
    UID_CONFLICT = "uid_conflict"
    CONTENT_CONFLICT = "content_conflict"
    CHECKSUM_CHANGED = "checksum_changed"
    UNSAFE_MEMBER = "unsafe_member"
    ARCHIVE_TRUNCATED = "archive_truncated"
    ARCHIVE_ENCRYPTED = "archive_encrypted"
    PERMISSION = "permission"
    IO_ERROR = "io_error"
    STILL_COPYING = "still_copying"
    BATCH_DROPPED = "batch_dropped"
    NOT_FETCHED = "not_fetched"
    NOT_DELIVERED = "not_delivered"
    NOT_A_REGULAR_FILE = "not_a_regular_file"
    NOT_IN_INDEX = "not_in_index"
    TABLE_UNREADABLE = "table_unreadable"
    # masks and ROIs
    MASK_UNREADABLE = "mask_unreadable"
    MASK_EMPTY = "mask_empty"
    MASK_MISMATCH = "mask_mismatch"
    MASK_WITHOUT_IMAGE = "mask_without_image"
    MASK_COVERS_IMAGE = "mask_covers_image"
    MASK_OUTSIDE_REGION = "mask_outside_region"
    SPACING_AMBIGUOUS = "spacing_ambiguous"
    ROI_TOO_SMALL = "roi_too_small"
    EXTRACTION_FAILED = "extraction_failed"
    WORKER_CRASH = "worker_crash"
    MEMORY = "memory"
    TIMEOUT = "timeout"
    # cases
    NO_MASK = "no_mask"
    MISSING_IMAGE = "missing_image"
    NEAR_DUPLICATE = "near_duplicate"
    UNMATCHED_ROW = "unmatched_row"
    VALUE_OUT_OF_RANGE = "value_out_of_range"
    VALUE_UNREADABLE = "value_unreadable"


class ItemKind(StrEnum):
    """What a quarantine row sets aside."""

    FILE = "file"
    ROI = "roi"
    CASE = "case"


class SpacingSource(StrEnum):
    """Where an image's millimetres per pixel come from."""

    REGIONS = "regions"
    """DICOM SequenceOfUltrasoundRegions (0018,6011)."""
    PIXEL_SPACING = "pixel_spacing"
    """DICOM PixelSpacing (0028,0030)."""
    INDEX = "index"
    """The center's index table."""
    NONE = "none"
    """Unknown: features in millimetres are null, not wrong."""


class VariableKind(StrEnum):
    """The type of a clinical variable."""

    NUMBER = "number"
    CATEGORY = "category"
    FLAG = "flag"


class Verdict(StrEnum):
    """What monitoring says of a feature or a center."""

    STABLE = "stable"
    DRIFT = "drift"
    INSUFFICIENT = "insufficient"
    """Too few rows to say. Shown grey, never green."""


class ScoreStatus(StrEnum):
    """What became of a case at scoring."""

    SCORED = "scored"
    ABSTAINED = "abstained"
    UNSCORED = "unscored"


class ModelStatus(StrEnum):
    """A model version's place in the registry."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"
    RETIRED = "retired"
    REJECTED = "rejected"


class Severity(StrEnum):
    """What a failed expectation does to its center's batch."""

    CRITICAL = "critical"
    """Holds it in staging."""
    WARNING = "warning"
    """Publishes it and says so."""
    INFO = "info"
    """Recorded only."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a row comes from; written to every row of every table."""

    run_id: str
    code_version: str
    config_hash: str


@dataclass(frozen=True, slots=True)
class ClinicalVariable:
    """One clinical or ultrasound variable of the model, typed as `[clinical]` in `clnm.toml` says."""

    name: str
    kind: VariableKind
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    levels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind is VariableKind.CATEGORY and len(self.levels) < 2:
            raise ValueError(f"category {self.name!r} needs at least two levels")


ClinicalValue = float | str | bool | None


@dataclass(frozen=True, slots=True)
class FileState:
    """One row of `files`: a file or archive member and the state it is in."""

    file_key: str
    center: str
    source: str
    """The center's archive entry (`C1/0`), never a path."""
    status: FileStatus
    reason: str
    detail: str
    """Numbers and codes only; nothing read from the file as text."""
    image_key: str | None
    size_bytes: int
    sha256: str | None
    first_seen_at: datetime
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class SetAside:
    """One row of `quarantine`: an item set aside, and why."""

    item_key: str
    kind: ItemKind
    center: str
    reason: Reason
    detail: str
    first_seen_at: datetime
    attempts: int = 1
    resolved_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """One accepted frame of a DICOM instance, or one picture file, cropped to its ultrasound region."""

    image_key: str
    study_key: str
    patient_key: str
    center: str
    acquired_at: datetime | None
    known_at: datetime
    rows_px: int
    columns_px: int
    spacing_x_mm: float | None
    spacing_y_mm: float | None
    spacing_source: SpacingSource
    manufacturer: str
    model: str
    transfer_syntax: str
    decoder: str
    frame: int
    sha256: str

    def __post_init__(self) -> None:
        _must_be_utc(self.known_at)
        if self.acquired_at is not None:
            _must_be_utc(self.acquired_at)
        if (self.spacing_x_mm is None) != (self.spacing_source is SpacingSource.NONE):
            raise ValueError("spacing and spacing_source contradict each other")


@dataclass(frozen=True, slots=True)
class Roi:
    """One labelled region drawn by one reader on one image."""

    roi_key: str
    image_key: str
    case_key: str
    patient_key: str
    study_key: str
    center: str
    acquired_at: datetime | None
    known_at: datetime
    reader: str
    label: int
    area_px: int
    area_mm2: float | None
    touches_border: bool
    mask_sha256: str


@dataclass(frozen=True, slots=True)
class ClinicalRow:
    """One row of a clinical table after mapping: values by our names."""

    patient_key: str
    study_key: str | None
    """None: the row speaks of the patient, and joins to every study of theirs."""
    center: str
    acquired_at: datetime | None
    known_at: datetime
    values: Mapping[str, ClinicalValue]


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """Pathology's answer for a patient (or one study of theirs)."""

    patient_key: str
    study_key: str | None
    center: str
    acquired_at: datetime | None
    known_at: datetime
    value: bool


def as_row(entity: Any) -> dict[str, Any]:
    """A frozen entity's fields by name, as they are: `dataclasses.asdict` copies each value, at a tenfold cost."""
    return {field.name: getattr(entity, field.name) for field in fields(entity)}


def _must_be_utc(moment: datetime) -> None:
    if moment.utcoffset() != timedelta(0):
        raise ValueError("times are UTC and aware")
