"""Intake of one center: the walk against the ledger, a look at what changed, and everything that follows from it.

Nothing at the source is moved, changed or deleted. The same archive looked at twice gives nothing the second time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from clnm.archive.emitting import TableRows, changes, file_asides, unmatched_asides
from clnm.archive.index import Index, read_index
from clnm.archive.ledger import Entry, Kind, Ledger
from clnm.archive.looking import Look, Sight, look_at, refused, stem_of
from clnm.archive.matching import frames_named
from clnm.archive.pseudonyms import Pseudonyms
from clnm.archive.settling import Settling
from clnm.archive.tables import TableFormat, Vocabulary, demand_columns, read_rows
from clnm.archive.walk import FoundFile, walk
from clnm.entities import (
    ClinicalRow,
    ClinicalVariable,
    FileState,
    FileStatus,
    Image,
    OutcomeRow,
    Reason,
    Roi,
    Role,
    SetAside,
)
from clnm.errors import NothingToDoError
from clnm.imaging.masks import VOLUMES, is_mask_name

MapFiles = Callable[[Callable[[tuple[Path, Entry]], Sight], Iterable[tuple[Path, Entry]]], Iterable[Sight]]
_MAX_VANISHED = 0.5
"""More of a source's known files gone at once than this: a mount is gone, not the files."""
_PORTION = 128
"""Files looked at before their pixels are kept and let go."""


@dataclass(frozen=True, slots=True)
class CenterArchive:
    """What the settings say of one center; every path absolute."""

    name: str
    role: Role
    archive: tuple[Path, ...]
    masks: tuple[Path, ...] = ()
    index: Path | None = None
    clinical: Path | None = None
    outcomes: Path | None = None
    columns: Mapping[str, str] | None = None
    values: Mapping[str, Mapping[str, Any]] | None = None
    table: TableFormat = field(default_factory=TableFormat)

    @property
    def vocabulary(self) -> Vocabulary:
        """The center's words."""
        return Vocabulary(self.columns or {}, self.values or {}, self.table)

    @property
    def tables(self) -> dict[str, Path]:
        """The configured tables, by key."""
        named = {"index": self.index, "clinical": self.clinical, "outcomes": self.outcomes}
        return {key: path for key, path in named.items() if path is not None}


@dataclass(frozen=True, slots=True)
class Intake:
    """What changed since the last look."""

    files: list[FileState]
    set_aside: list[SetAside]
    images: list[Image]
    rois: list[Roi]
    clinical: list[ClinicalRow]
    outcomes: list[OutcomeRow]
    ledger: Ledger
    counts: Mapping[str, int]

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed."""
        return not (self.files or self.set_aside or self.images or self.rois or self.clinical or self.outcomes)


def take_in(
    center: CenterArchive,
    known: Ledger,
    *,
    pseudonyms: Pseudonyms,
    variables: Sequence[ClinicalVariable],
    outcome: str,
    pixels: Path,
    seen_at: datetime,
    now_ns: int,
    settle_seconds: float = 0.0,
    map_files: MapFiles = map,
) -> Intake:
    """Look at `center`'s archive.

    Args:
        center: where it is and what its words mean.
        known: the ledger of the last look.
        pseudonyms: the keyed hashes.
        variables: the clinical variables of the model.
        outcome: the outcome's name.
        pixels: the private pixel cache.
        seen_at: the run's start; `known_at` of what is seen for the first time.
        now_ns: the clock against which a file is "touched a moment ago".
        settle_seconds: how long a file that is not whole may still be being copied.
        map_files: a map over first looks, such as a thread pool's.

    Raises:
        NothingToDoError: an entry is missing or empty, or most of what it held vanished.
        ConfigurationError: a table or a column that the configuration names is not there.
    """
    roots = _roots(center)
    tables = {key: read_rows(path, center.table, center=center.name, key=key) for key, path in center.tables.items()}
    demand_columns(tables, center.vocabulary, center=center.name)
    found = _found(center, roots, pseudonyms, seen_at)
    _refuse_a_gone_mount(center, known, found)
    index = read_index(tables.get("index", []), center.vocabulary)
    entries = _classified(center, roots, found, index)
    todo = _todo(known, entries)
    names = [entry.stem for entry in entries.values() if entry.kind is Kind.IMAGE]
    look = Look(
        center=center.name,
        pseudonyms=pseudonyms,
        index=index.images,
        frames=frames_named((entry.stem for entry in entries.values() if entry.kind is Kind.MASK), names),
        max_still_copying_ns=int(settle_seconds * 1e9),
        now_ns=now_ns,
    )
    settling = Settling(
        center.name, pseudonyms, pixels, seen_at, known.entries, _carried(known, entries, todo, seen_at)
    )
    masks = [entry for entry in todo if entry.kind is Kind.MASK]
    for sights in _looks(look, roots, [entry for entry in todo if entry.kind is not Kind.MASK], map_files):
        settling.settle_files(sights)
    for sights in _looks(look, roots, masks, map_files):
        settling.settle_masks(sights, _masks_of(index, entries))
    told = TableRows(center.name, pseudonyms, seen_at, center.vocabulary, set(known.emitted))
    told.read_clinical(tables.get("clinical", []), variables)
    for key in ("outcomes", "clinical"):
        told.read_outcomes(tables.get(key, []), outcome)
    return _result(center, known, settling, told)


def _result(center: CenterArchive, known: Ledger, settling: Settling, told: TableRows) -> Intake:
    entries = settling.entries
    open_now = (
        file_asides(entries.values(), settling.seen_at)
        | unmatched_asides(told.patients, entries.values(), settling.seen_at)
        | told.asides
    )
    attempts = {key: entry.attempts for key, entry in entries.items()}
    set_aside, asides = changes(center.name, known.asides, open_now, attempts, settling.seen_at)
    changed = [entry for key, entry in entries.items() if _is_news(known.entries.get(key), entry)]
    counts = {status.value: 0 for status in FileStatus}
    for entry in entries.values():
        counts[entry.status.value] += 1
    return Intake(
        files=[entry.state(center.name) for entry in changed],
        set_aside=set_aside,
        images=settling.images,
        rois=settling.rois,
        clinical=told.clinical,
        outcomes=told.outcomes,
        ledger=Ledger(entries, asides, frozenset(told.emitted)),
        counts=counts,
    )


def _roots(center: CenterArchive) -> dict[str, Path]:
    """The entries to walk, by the name they go by in the store (`C1/0`); masks beside the images are walked once."""
    roots = {f"{center.name}/{number}": path for number, path in enumerate(center.archive)}
    for number, path in enumerate(center.masks):
        if not any(path.resolve().is_relative_to(other.resolve()) for other in center.archive):
            roots[f"{center.name}/masks/{number}"] = path
    for source, path in roots.items():
        if not path.exists():
            raise NothingToDoError(
                f"center {center.name}: archive entry {source} is not there; mount it or mend [[center]] in clnm.toml"
            )
    return roots


def _found(
    center: CenterArchive, roots: Mapping[str, Path], pseudonyms: Pseudonyms, seen_at: datetime
) -> dict[str, Entry]:
    """Every file of the walk as a fresh entry, in the order of sources and paths."""
    entries = {}
    for source, root in roots.items():
        for file in walk(root):
            key = pseudonyms.file(center.name, source, file.path)
            entries[key] = _fresh(key, source, file, seen_at)
    return entries


def _fresh(key: str, source: str, file: FoundFile, seen_at: datetime) -> Entry:
    entry = Entry(
        file_key=key,
        source=source,
        path=file.path,
        size_bytes=file.size_bytes,
        mtime_ns=file.mtime_ns,
        inode=file.inode,
        kind=Kind.IMAGE,
        status=FileStatus.PENDING,
        first_seen_at=seen_at,
        last_seen_at=seen_at,
        stem=stem_of(file.name),
    )
    return entry if file.refusal is None else refused(entry, file.refusal)


def _refuse_a_gone_mount(center: CenterArchive, known: Ledger, found: Mapping[str, Entry]) -> None:
    if not found:
        raise NothingToDoError(f"center {center.name}: its archive is empty; mount it or mend [[center]] archive")
    here = [entry for entry in known.entries.values() if entry.status is not FileStatus.GONE]
    vanished = sum(entry.file_key not in found for entry in here)
    if here and vanished > _MAX_VANISHED * len(here):
        raise NothingToDoError(
            f"center {center.name}: {vanished} of {len(here)} known files are not there; the mount is gone, or half an "
            "archive was moved: mount it, then run again"
        )


def _classified(
    center: CenterArchive, roots: Mapping[str, Path], found: Mapping[str, Entry], index: Index
) -> dict[str, Entry]:
    """Each entry with what it is to us: a configured table, a mask, or (maybe) an image."""
    tables = {path.resolve() for path in center.tables.values()}
    folders = [path.resolve() for path in center.masks]
    kinds = {}
    for key, entry in found.items():
        place = roots[entry.source] / os.fsdecode(entry.path)
        kind = Kind.IMAGE
        if place.resolve() in tables:
            kind = Kind.TABLE
        elif index.names_mask(place) or place.name.lower().endswith(VOLUMES) or _is_in(folders, place):
            kind = Kind.MASK
        kinds[key] = replace(entry, kind=kind)
    return kinds


def _is_in(folders: Sequence[Path], place: Path) -> bool:
    return is_mask_name(place.name) and any(place.resolve().is_relative_to(folder) for folder in folders)


def _todo(known: Ledger, entries: Mapping[str, Entry]) -> list[Entry]:
    """What is new, changed or unsettled; and masks that wait for an image, when anything else is new."""
    todo = [entry for key, entry in entries.items() if _needs_a_look(known.entries.get(key), entry)]
    if any(entry.kind is Kind.IMAGE for entry in todo):
        chosen = {entry.file_key for entry in todo}
        todo += [
            entries[key]
            for key, entry in known.entries.items()
            if entry.reason == Reason.MASK_WITHOUT_IMAGE and key in entries and key not in chosen
        ]
    return todo


def _needs_a_look(old: Entry | None, entry: Entry) -> bool:
    return old is None or not old.is_settled or not old.looks_like(entry.size_bytes, entry.mtime_ns, entry.inode)


def _carried(known: Ledger, entries: Mapping[str, Entry], todo: Sequence[Entry], seen_at: datetime) -> dict[str, Entry]:
    """The next ledger before anything is looked at: unchanged entries as they were, vanished ones gone."""
    chosen = {entry.file_key for entry in todo}
    carried = {}
    for key, entry in known.entries.items():
        if key not in entries and entry.status is not FileStatus.GONE:
            carried[key] = replace(entry, status=FileStatus.GONE, last_seen_at=seen_at)
        elif key not in chosen:
            carried[key] = entry
    return carried


def _looks(look: Look, roots: Mapping[str, Path], todo: Sequence[Entry], map_files: MapFiles) -> Iterable[list[Sight]]:
    """First looks in bounded portions, so that memory does not grow with the archive."""
    work = partial(_look_at_pair, look)
    for start in range(0, len(todo), _PORTION):
        portion = todo[start : start + _PORTION]
        yield list(map_files(work, [(roots[entry.source], entry) for entry in portion]))


def _look_at_pair(look: Look, pair: tuple[Path, Entry]) -> Sight:
    root, entry = pair
    return Sight(entry) if entry.reason else look_at(look, root, entry)


def _masks_of(index: Index, entries: Mapping[str, Entry]) -> dict[str, tuple[str, str]]:
    """Image file_key and reader by mask file_key, for masks that the index table names."""
    by_name = {os.fsdecode(entry.path): key for key, entry in entries.items()}
    by_bare = {name.rsplit("/", 1)[-1]: key for name, key in by_name.items()}

    def key_of(name: str) -> str | None:
        return by_name.get(name) or by_bare.get(name.rsplit("/", 1)[-1])

    found = {}
    for mask, (image, reader) in index.masks.items():
        mask_key, image_key = key_of(mask), key_of(image)
        if mask_key is not None and image_key is not None:
            found[mask_key] = (image_key, reader)
    return found


def _is_news(old: Entry | None, entry: Entry) -> bool:
    if old is None:
        return True
    return (old.status, old.reason, old.detail, old.image_key, old.sha256) != (
        entry.status,
        entry.reason,
        entry.detail,
        entry.image_key,
        entry.sha256,
    )
