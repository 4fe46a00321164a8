"""The index table of a center whose images are picture files: which patient, when, how many millimetres per pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clnm.archive.looking import IndexRow
from clnm.archive.tables import Vocabulary, column_of, read_day


@dataclass(frozen=True, slots=True)
class Index:
    """Rows by image (path as written, and bare name), and the image and reader of each mask that is named."""

    images: Mapping[bytes, IndexRow]
    masks: Mapping[str, tuple[str, str]]

    def names_mask(self, place: Path) -> bool:
        """Whether a file is some image's mask by this table."""
        return any(name.rsplit("/", 1)[-1] == place.name for name in self.masks)


def read_index(rows: Sequence[Mapping[str, str]], vocabulary: Vocabulary) -> Index:
    """The index table's rows; an image may have several rows, one for each reader's mask."""
    images: dict[bytes, IndexRow] = {}
    masks: dict[str, tuple[str, str]] = {}

    def cell(row: Mapping[str, str], name: str) -> str:
        column = column_of(name, rows, vocabulary)
        return row.get(column, "").strip() if column else ""

    for row in rows:
        image = cell(row, "image")
        if not image:
            continue
        x, y = _spacing(cell(row, "spacing_mm"), cell(row, "spacing_x_mm"), cell(row, "spacing_y_mm"), vocabulary)
        entry = IndexRow(
            patient=cell(row, "patient"),
            study=cell(row, "study") or None,
            acquired_at=read_day(cell(row, "acquired_on"), dayfirst=vocabulary.format.dayfirst),
            spacing_x_mm=x,
            spacing_y_mm=y,
            reader=cell(row, "reader"),
            manufacturer=cell(row, "manufacturer"),
            model=cell(row, "model"),
        )
        for name in (image, image.rsplit("/", 1)[-1]):
            images[name.encode("utf-8", "surrogateescape")] = entry
        if mask := cell(row, "mask"):
            masks[mask] = (image, entry.reader)
    return Index(images, masks)


def _spacing(both: str, x: str, y: str, vocabulary: Vocabulary) -> tuple[float, float] | tuple[None, None]:
    """Millimetres per pixel along x and y; both or neither, and only where they are above 0."""
    try:
        found = [float((text or both).replace(vocabulary.format.decimal, ".")) for text in (x, y)]
    except ValueError:
        return None, None
    return (found[0], found[1]) if min(found) > 0 else (None, None)
