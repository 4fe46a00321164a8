"""Keyed pseudonyms: HMAC-SHA256, so that nobody without the key can test a guess, and every worker gets the same."""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from clnm.errors import ConfigurationError

MAX_SHIFT_DAYS = 365
_MIN_BYTES = 32
_HEX_DIGITS = 20
"""80 bits: a collision among a million keys has a chance of about 4e-13."""


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """The keys of one installation. `key_id` names the secret, for rotation."""

    key: bytes = field(repr=False)
    key_id: str = "k1"
    shifts_dates: bool = False
    first_names: Mapping[str, str] = field(default_factory=dict)
    """Of renamed centers: the name that their keys were made with, and go on with."""

    def __post_init__(self) -> None:
        if len(self.key) < _MIN_BYTES:
            raise ConfigurationError(f"the pseudonym key holds {len(self.key)} bytes, needs {_MIN_BYTES}")

    def patient(self, center: str, raw_id: str) -> str:
        """A person at a center: ids of two centers may collide, so the center is always in the key."""
        return self._hash("patient", self.named(center), _normalised(raw_id))

    def study(self, center: str, raw_id: str) -> str:
        """An examination, by its StudyInstanceUID or the hospital's own id."""
        return self._hash("study", self.named(center), _normalised(raw_id))

    def image(self, center: str, identity: str, frame: int) -> str:
        """A frame, by its SOPInstanceUID or, for a picture file, its checksum."""
        return self._hash("image", self.named(center), identity, str(frame))

    def roi(self, image_key: str, reader: str, label: int) -> str:
        """A labelled region of an image by one reader."""
        return self._hash("roi", image_key, reader, str(label))

    def case(self, patient_key: str, study_key: str) -> str:
        """A patient's study."""
        return self._hash("case", patient_key, study_key)

    def file(self, center: str, source: str, path: bytes) -> str:
        """A file or archive member."""
        return self._hash("file", self.named(center), source, path.hex())

    def named(self, center: str) -> str:
        """The name of a center that is in its keys: its first one."""
        return self.first_names.get(center, center)

    def shifted(self, patient_key: str, moment: datetime | None) -> datetime | None:
        """A patient's moment, 1 to 365 days earlier and all of one patient alike; as it is unless dates are shifted.

        Never forward, so that no date lies ahead of the run; by whole days, so that intervals and hours stay
        (DICOM PS3.15 E.3.6, Retain Longitudinal Temporal Information with Modified Dates).
        """
        if moment is None or not self.shifts_dates:
            return moment
        digest = hmac.new(self.key, b"shift\x00" + patient_key.encode(), hashlib.sha256).digest()
        return moment - timedelta(days=1 + int.from_bytes(digest[:8]) % MAX_SHIFT_DAYS)

    def text(self, *parts: str) -> str:
        """A hash of anything else that may identify, such as the words of a table's row."""
        return self._hash("text", *parts)

    def _hash(self, *parts: str) -> str:
        message = b"\x00".join(part.encode("utf-8", "surrogateescape") for part in parts)
        return f"{self.key_id}-{hmac.new(self.key, message, hashlib.sha256).hexdigest()[:_HEX_DIGITS]}"


def _normalised(raw_id: str) -> str:
    """One spelling per id: Unicode NFKC, no surrounding white space or NUL, upper case."""
    return unicodedata.normalize("NFKC", raw_id).strip(" \t\r\n\x00").upper()
