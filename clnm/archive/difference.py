"""The walk against the ledger: which files are new, changed or gone. Set by set, with no object per unchanged file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clnm.archive.entry import TRY_AGAIN, Entry, Kind
from clnm.archive.ledger import Ledger
from clnm.archive.sources import Root, read
from clnm.archive.walk import FoundFile
from clnm.entities import FileStatus
from clnm.imaging.refusal import RefusedError

MAX_VANISHED = 0.5
"""More of a source's known files gone at once than this: a mount is gone, not the files."""


REHASHED = 50
"""Images of a center whose bytes are compared with their first hash by each look."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What one source's walk says against the ledger."""

    changed: list[tuple[FoundFile, int | None]]
    """Files to look at, with the ledger's row of the file as it was; in the order of paths."""
    gone: np.ndarray
    """Rows of the ledger whose file is no longer there."""
    known_count: int
    """Files of the source that were there, and could be read, at the last look."""
    vanished_count: int
    """Those of them that are not there now."""

    @property
    def is_a_gone_mount(self) -> bool:
        """Whether so much vanished at once that it is not files that were deleted."""
        return self.vanished_count > MAX_VANISHED * self.known_count


def compare(
    found: Sequence[FoundFile], known: Ledger, source: str, *, within: frozenset[bytes] | None = None
) -> Difference:
    """One source's files against the ledger: by path, then by size (where it is known), modification time and inode.

    Any difference counts, never just "newer": clocks are wrong, and restored files are older. `within`: the only
    folders that were looked into; what is known of others stays as it is.
    """
    rows = np.flatnonzero(_equal(known, "source", source))
    before = known.files.take(pa.array(rows)) if len(rows) else known.files.slice(0, 0)
    paths = pa.array([file.path for file in found], pa.binary())
    place = _numbers(pc.index_in(paths, value_set=before.column("path").combine_chunks()))
    is_known = place >= 0
    is_same = is_known.copy()
    for name, values in (
        ("size_bytes", [file.size_bytes for file in found]),
        ("mtime_ns", [file.mtime_ns for file in found]),
        ("inode", [file.inode for file in found]),
    ):
        seen = np.fromiter(values, dtype=np.int64, count=len(found))
        is_same &= (_numbers(before.column(name))[place] == seen) | (seen < 0) if len(before) else False
    if len(before):
        is_same &= ~_unsettled(before)[place]
    changed = [(found[i], int(rows[place[i]]) if is_known[i] else None) for i in np.flatnonzero(~is_same).tolist()]
    was_here = _numbers(pc.not_equal(before.column("status"), FileStatus.GONE.value)).astype(bool)
    is_gone = was_here.copy()
    is_gone[place[is_known]] = False
    is_gone &= ~_hidden(before, [file.hides for file in found if file.refusal is not None])
    if within is not None:
        is_gone &= np.array(
            [path.split(b"/", 1)[0] in within for path in before.column("path").to_pylist()], dtype=bool
        )
    was_readable = was_here & ~_may_be_read_again(before)
    return Difference(sorted(changed), rows[is_gone], int(was_readable.sum()), int((is_gone & was_readable).sum()))


def silently_changed(known: Ledger, roots: Mapping[str, Root], day: int) -> list[Entry]:
    """Ingested images whose bytes are others than at their first look, of the share that is due on this day.

    Day after day another share, so that all of them have their turn. What cannot be read is the walk's to tell.
    """
    is_image = pc.and_(
        pc.equal(known.column("kind"), Kind.IMAGE), pc.equal(known.column("status"), FileStatus.INGESTED)
    )
    rows = np.flatnonzero(_numbers(is_image).astype(bool))
    due = np.roll(rows, -(day * REHASHED) % max(1, len(rows)))[:REHASHED]
    return [entry for entry in known.entries(due) if entry.source in roots and _is_other(roots[entry.source], entry)]


def _is_other(root: Root, entry: Entry) -> bool:
    try:
        return hashlib.sha256(read(root, entry.path)).hexdigest() != entry.sha256
    except RefusedError:
        return False


def _unsettled(before: pa.Table) -> np.ndarray:
    """Files that are looked at again although they look the same."""
    unsettled = pa.array([FileStatus.PENDING.value, FileStatus.GONE.value])
    waits = _numbers(pc.is_in(before.column("status"), value_set=unsettled)).astype(bool)
    return waits | _may_be_read_again(before)


def _may_be_read_again(before: pa.Table) -> np.ndarray:
    return _numbers(pc.is_in(before.column("reason"), value_set=pa.array(sorted(TRY_AGAIN)))).astype(bool)


def _hidden(before: pa.Table, prefixes: Sequence[tuple[bytes, ...]]) -> np.ndarray:
    """Known files below a folder or in an archive that cannot be read now: they are not gone."""
    starts = tuple(prefix for several in prefixes for prefix in several)
    if not starts:
        return np.zeros(len(before), dtype=bool)
    return np.array([path.startswith(starts) for path in before.column("path").to_pylist()], dtype=bool)


def _equal(known: Ledger, name: str, value: str) -> np.ndarray:
    return _numbers(pc.equal(known.column(name), value)).astype(bool)


def _numbers(values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """As numpy; null is -1 (and not a row)."""
    filled = values if pa.types.is_boolean(values.type) else pc.fill_null(values, -1)
    return np.asarray(filled.to_numpy(zero_copy_only=False) if isinstance(filled, pa.Array) else filled.to_numpy())
