"""What is in already, known or of this run: what looked-at files are held against."""

from __future__ import annotations

from dataclasses import dataclass, field

from clnm.archive.entry import Entry, Kind
from clnm.entities import FileStatus, Reason
from clnm.imaging.refusal import RefusedError

_HAD_ROWS = frozenset({FileStatus.INGESTED, FileStatus.GONE})


@dataclass(slots=True, repr=False)
class Accepted:
    """Images and masks that are in, known or of this run, by what they are asked for by."""

    by_sha: dict[str, Entry] = field(default_factory=dict)
    by_image: dict[str, Entry] = field(default_factory=dict)
    by_file: dict[str, Entry] = field(default_factory=dict)
    """Images that are there, by file_key."""
    by_stem: dict[str, dict[str, Entry]] = field(default_factory=dict)
    drawn: dict[str, dict[str, Entry]] = field(default_factory=dict)
    """Masks by image_key and file_key."""
    were_drawn: set[tuple[object, ...]] = field(default_factory=set)
    """Masks that are gone: one that was moved is no news."""
    facts: dict[str, tuple[object, ...]] = field(default_factory=dict)
    """What the store's image rows are made of."""
    news: set[str] = field(default_factory=set)
    """Images whose row is new in this run."""

    def add(self, entry: Entry, *, is_in_store: bool = False) -> None:
        """Note an entry that is in, or a copy of one: a mask can be named after the copy."""
        if entry.image_key is None:
            return
        if entry.kind is Kind.IMAGE and entry.status in {FileStatus.INGESTED, FileStatus.DUPLICATE}:
            self.by_file[entry.file_key] = entry
            self.by_stem.setdefault(entry.stem, {})[entry.file_key] = entry
        if entry.status not in _HAD_ROWS:
            return
        if is_in_store and entry.kind is Kind.IMAGE:
            self.facts[entry.image_key] = entry.facts
        if entry.kind is Kind.MASK and entry.status is FileStatus.INGESTED:
            self.drawn.setdefault(entry.image_key, {})[entry.file_key] = entry
        if entry.kind is Kind.MASK and entry.status is FileStatus.GONE:
            self.were_drawn.add(entry.drawing)
        if entry.kind is Kind.IMAGE:
            self.by_sha[str(entry.sha256)] = self.by_image[entry.image_key] = entry

    def original(self, entry: Entry) -> Entry:
        """The image itself, where the entry is a copy of it.

        Raises:
            RefusedError: it is not there.
        """
        found = entry if entry.status is FileStatus.INGESTED else self.by_image.get(str(entry.image_key))
        if found is None or found.status is not FileStatus.INGESTED:
            raise RefusedError(Reason.MASK_WITHOUT_IMAGE)
        return found
