"""Images of different patients that look alike: told, and used all the same, for a person to say what they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clnm.archive.entry import Kind
from clnm.archive.ledger import Aside, Ledger
from clnm.entities import FileStatus, Reason
from clnm.imaging.likeness import MAX_BITS, as_words, differing_bits

_CASE = "case"
_AT_ONCE = 256


def likeness_asides(
    ledger: Ledger, before: Iterable[Aside], fresh: AbstractSet[str], seen_at: datetime
) -> dict[tuple[str, str], Aside]:
    """Every image that another patient's looks like; the detail is that image's key, the first of several.

    What was known before stands; `fresh` images, and those whose likeness is gone, are held against all.
    """
    known = {aside.item_key: aside.detail for aside in before if aside.reason == Reason.NEAR_DUPLICATE}
    if not known and not fresh:
        return {}
    images = _images(ledger)
    files, keys = images["file_key"].to_pylist(), images["image_key"].to_pylist()
    there = dict(zip(files, keys, strict=True))
    held = set(keys)
    partner = {file: other for file, other in known.items() if file in there and other in held}
    asked = [n for n, file in enumerate(files) if keys[n] in fresh or (file in known and file not in partner)]
    for one, other in _alike(images, asked):
        for mine, theirs in ((one, other), (other, one)):
            partner[files[mine]] = min(partner.get(files[mine], keys[theirs]), keys[theirs])
    reason = Reason.NEAR_DUPLICATE.value
    return {(file, _CASE): Aside(file, _CASE, reason, key, seen_at) for file, key in partner.items()}


def _images(ledger: Ledger) -> Mapping[str, pa.ChunkedArray]:
    """The images that are in and no blanks, column by column."""
    is_in = pc.and_(
        pc.equal(ledger.column("kind"), Kind.IMAGE.value), pc.equal(ledger.column("status"), FileStatus.INGESTED.value)
    )
    is_told = pc.and_(is_in, pc.greater(pc.binary_length(ledger.column("likeness")), 0))
    table = ledger.files.select(["file_key", "image_key", "patient_key", "likeness"]).filter(is_told)
    return {name: table.column(name) for name in table.column_names}


def _alike(images: Mapping[str, pa.ChunkedArray], asked: list[int]) -> Iterable[tuple[int, int]]:
    """Pairs of rows, one of them asked for, of different patients."""
    if not asked:
        return
    words = as_words(images["likeness"].to_pylist())
    patients = np.asarray(images["patient_key"].to_pylist())
    for start in range(0, len(asked), _AT_ONCE):
        rows = np.asarray(asked[start : start + _AT_ONCE])
        near = (differing_bits(words[rows], words) <= MAX_BITS) & (patients[rows, None] != patients[None, :])
        for row, column in np.argwhere(near).tolist():
            yield int(rows[row]), column
