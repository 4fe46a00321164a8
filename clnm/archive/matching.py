"""Which image a mask belongs to: by the index table, else by its stem; refused where it is not certain."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from clnm.archive.entry import Entry
from clnm.archive.pseudonyms import Pseudonyms

DEFAULT_READER = "r1"
MASK_WORDS = frozenset({"mask", "seg", "segmentation", "tumor", "tumour", "lesion", "label", "roi"})
_FRAME = re.compile(r"^f(\d+)$")
_READER_CODE = re.compile(r"^(?:(?:r|rd|reader|obs|observer|rater)?-?\d{1,3}|[a-z])$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Match:
    """What a mask's stem says: the image's stem, who drew it, on which frame (from 0), and which part it is."""

    stem: str
    reader: str
    frame: int | None = None
    part: int = 0
    """`a_mask_1` beside `a_mask` is another lesion: its labels are counted on from the part's number."""


@dataclass(frozen=True, slots=True, repr=False)
class MaskOf:
    """The image that the index table names for a mask: its place's key, and who drew it."""

    image_file_key: str
    reader: str


def match_stem(mask_stem: str, image_stems: Mapping[str, object] | AbstractSet[str]) -> Match | None:
    """The image stem that a mask's stem starts with, after its endings (`_mask`, `_r2`, `_f012`) are taken off.

    The longest image stem wins, so that `a_1_r1` belongs to `a_1` and not to `a`.
    """
    for stem in reversed(starts_of(mask_stem)):
        if stem in image_stems:
            return _read_endings(stem, mask_stem[len(stem) :].split("_"))
    return None


def starts_of(mask_stem: str) -> list[str]:
    """Every stem that an image of this mask can have, the shortest first."""
    parts = mask_stem.split("_")
    return ["_".join(parts[:length]) for length in range(1, len(parts) + 1)]


def is_mask_stem(stem: str) -> bool:
    """Whether a picture's stem says by one of its endings that it is a mask."""
    return any(ending.casefold() in MASK_WORDS for ending in stem.split("_")[1:])


def reader_code(word: str, pseudonyms: Pseudonyms) -> str:
    """A reader's code as it is; anything else may be a name, and becomes a keyed hash."""
    if not word:
        return DEFAULT_READER
    return word if _READER_CODE.match(word) else pseudonyms.text("reader", word)


def nearest_image(mask: Entry, images: Sequence[Entry]) -> Entry | None:
    """Of several images of one stem: the only one in the mask's folder, else in a folder of the same name; or None.

    Copies of one image are one.
    """
    folder = _folder(mask)
    beside = [image for image in images if (image.source, _folder(image)) == (mask.source, folder)]
    alike = [image for image in images if _folder(image)[-1:] == folder[-1:]]
    near = ({image.image_key: image for image in some} for some in (beside, alike, images))
    return next((next(iter(distinct.values())) for distinct in near if len(distinct) == 1), None)


def frames_named(mask_stems: Iterable[str], image_stems: AbstractSet[str]) -> dict[str, int]:
    """The frame that a mask's ending names, by image stem."""
    found = (match_stem(stem, image_stems) for stem in mask_stems)
    return {match.stem: match.frame for match in found if match is not None and match.frame is not None}


def _folder(entry: Entry) -> list[bytes]:
    return entry.path.split(b"/")[:-1]


def _read_endings(stem: str, endings: list[str]) -> Match:
    frame, reader, part = None, "", 0
    for ending in endings:
        number = _FRAME.match(ending)
        if number:
            frame = int(number.group(1))
        elif ending.isdecimal():
            part = int(ending)
        elif ending and ending.casefold() not in MASK_WORDS:
            reader = ending
    return Match(stem, reader, frame, part)
