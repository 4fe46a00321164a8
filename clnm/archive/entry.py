"""What is known of one file of an archive; tables of them are the ledger's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from clnm.entities import FileState, FileStatus, Reason


class Kind(StrEnum):
    """What a file is to us."""

    IMAGE = "image"
    """Maybe an image: a DICOM file, a picture, or something that will be ignored."""
    MASK = "mask"
    TABLE = "table"


TRY_AGAIN = frozenset({Reason.PERMISSION.value, Reason.IO_ERROR.value, Reason.NOT_DELIVERED.value})
"""Reasons that can go away without a change of the file's look."""


@dataclass(frozen=True, slots=True, repr=False)
class Entry:
    """One file or member: where it is, how it looked, what became of it, and what matching a later mask needs.

    It prints nothing: it holds a path.
    """

    file_key: str
    source: str
    path: bytes
    size_bytes: int
    mtime_ns: int
    inode: int
    kind: Kind
    status: FileStatus
    first_seen_at: datetime
    last_seen_at: datetime
    reason: str = ""
    detail: str = ""
    sha256: str | None = None
    attempts: int = 1
    stem: str = ""
    image_key: str | None = None
    patient_key: str | None = None
    study_key: str | None = None
    acquired_at: datetime | None = None
    rows_px: int = 0
    columns_px: int = 0
    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0
    spacing_x_mm: float | None = None
    spacing_y_mm: float | None = None
    frame: int = 0
    frame_count: int = 1
    region_count: int = 1
    reader: str = ""
    labels: str = ""
    """The labels of an ingested mask, separated by commas."""
    likeness: bytes = b""
    """Of an image: a hash that pictures which look alike share, but for a few bits."""
    index_hash: str = ""
    """Of a picture: keyed hash of its row in the index table, so that a mended row is noticed."""

    def state(self, center: str) -> FileState:
        """The public row: no path, no name."""
        return FileState(
            file_key=self.file_key,
            center=center,
            source=self.source,
            status=self.status,
            reason=self.reason,
            detail=self.detail,
            image_key=self.image_key,
            size_bytes=self.size_bytes,
            sha256=self.sha256,
            first_seen_at=self.first_seen_at,
            last_seen_at=self.last_seen_at,
        )

    @property
    def facts(self) -> tuple[object, ...]:
        """What an image row is made of."""
        box = (self.top, self.bottom, self.left, self.right, self.spacing_x_mm, self.spacing_y_mm)
        return (self.sha256, self.patient_key, self.study_key, self.acquired_at, self.frame, *box, self.index_hash)

    @property
    def drawing(self) -> tuple[object, ...]:
        """What the ROI rows of a mask are made of, its image aside."""
        return (self.sha256, self.image_key, self.reader, self.labels)

    def as_copy_of(self, twin: Entry) -> Entry:
        """The entry in the state of a duplicate."""
        reason = Reason.DUPLICATE_OF.value
        return replace(self, status=FileStatus.DUPLICATE, reason=reason, detail="", image_key=twin.image_key)

    def stands_as(self, other: Entry) -> bool:
        """Whether what became of the file is the same."""
        mine, theirs = (
            (e.kind, e.status, e.reason, e.detail, e.sha256, e.image_key, e.patient_key, e.study_key, e.labels)
            for e in (self, other)
        )
        return mine == theirs
