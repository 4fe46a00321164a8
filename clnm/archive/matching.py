"""Which image a mask belongs to: by its place in the index table, else by its stem; refused where it is not certain."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from clnm.archive.ledger import Entry

DEFAULT_READER = "r1"
_WORDS = frozenset({"mask", "seg", "segmentation", "tumor", "tumour", "lesion", "label", "roi"})
_FRAME = re.compile(r"^f(\d+)$")
_SPLIT = re.compile(r"[_]")


@dataclass(frozen=True, slots=True)
class Match:
    """What a mask's stem says: the image's stem, who drew it, and on which frame (counted from 0)."""

    stem: str
    reader: str
    frame: int | None


def match_stem(mask_stem: str, image_stems: Mapping[str, object] | Iterable[str]) -> Match | None:
    """The image stem that a mask's stem starts with, after its endings (`_mask`, `_r2`, `_f012`) are taken off.

    The longest image stem wins, so that `a_1_r1` belongs to `a_1` and not to `a`.
    """
    stems = image_stems if isinstance(image_stems, Mapping) else set(image_stems)
    parts = _SPLIT.split(mask_stem)
    for length in range(len(parts), 0, -1):
        stem = "_".join(parts[:length])
        if stem in stems:
            return _read_endings(stem, parts[length:])
    return None


def frames_named(mask_stems: Iterable[str], image_stems: Iterable[str]) -> dict[str, int]:
    """The frame that a mask's ending names, by image stem."""
    stems = set(image_stems)
    found = (match_stem(stem, stems) for stem in mask_stems)
    return {match.stem: match.frame for match in found if match is not None and match.frame is not None}


def by_stem(images: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Ingested images by stem; a stem of two images names neither."""
    found: dict[str, list[Entry]] = {}
    for image in images:
        found.setdefault(image.stem, []).append(image)
    return found


def _read_endings(stem: str, endings: list[str]) -> Match:
    frame, reader = None, DEFAULT_READER
    for ending in endings:
        number = _FRAME.match(ending)
        if number:
            frame = int(number.group(1))
        elif ending.casefold() not in _WORDS and ending:
            reader = ending
    return Match(stem, reader, frame)
