"""What is to be looked at: the walk of a center's sources against the ledger, and what hangs on what changed."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from clnm.archive.center import CenterArchive
from clnm.archive.difference import compare, silently_changed
from clnm.archive.entry import Entry, Kind
from clnm.archive.index import Index, read_index
from clnm.archive.ledger import Ledger
from clnm.archive.looking import refused, stem_of
from clnm.archive.matching import MaskOf, frames_named, is_mask_stem, match_stem, starts_of
from clnm.archive.pseudonyms import Pseudonyms
from clnm.archive.sights import Task
from clnm.archive.sources import Root, listed_folders, place_of, real_place
from clnm.archive.tables import Sheet
from clnm.archive.walk import FoundFile, name_of, printable
from clnm.entities import FileStatus, Reason
from clnm.errors import NothingToDoError
from clnm.imaging.drawings import SUFFIX as DRAWING
from clnm.imaging.masks import VOLUMES, is_mask_name
from clnm.imaging.pictures import SUFFIXES

_Where = tuple[str, bytes]
"""A source and a path below it."""
_BYTE_SUFFIXES = tuple(suffix.encode() for suffix in SUFFIXES)


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """The files to look at, and what is known beforehand about how they belong together."""

    roots: Mapping[str, Root]
    tasks: list[Task]
    """Everything but masks."""
    mask_tasks: list[Task]
    before: Mapping[str, Entry]
    """The same files as they were, by file_key."""
    gone: list[Entry]
    index: Index
    masks_of: Mapping[str, MaskOf]
    frames: Mapping[str, int]
    masks_by_stem: Mapping[str, list[tuple[Root, bytes]]]

    @staticmethod
    def fresh(task: Task) -> Task:
        """The same file with nothing known of what it holds."""
        return replace(task, entry=_fresh(task.entry))


@dataclass(slots=True, repr=False)
class _Planner:
    center: CenterArchive
    known: Ledger
    pseudonyms: Pseudonyms
    seen_at: datetime
    roots: dict[str, Root]
    tables: frozenset[str]
    mask_folders: tuple[str, ...]
    index: Index = field(default_factory=Index)
    pictures: Mapping[str, Sequence[_Where]] = field(default_factory=dict)
    chosen: dict[str, Entry] = field(default_factory=dict)
    before: dict[str, Entry] = field(default_factory=dict)

    def choose(self, entry: Entry, old: Entry | None) -> None:
        """Have a file looked at."""
        if entry.file_key not in self.chosen:
            kind = self.kind_of(self.place(entry), name_of(entry.path))
            self.chosen[entry.file_key] = replace(entry, kind=kind)
            if old is not None:
                self.before[old.file_key] = old

    def choose_again(self, entries: Iterable[Entry]) -> None:
        """Have known files looked at again although they look the same."""
        for entry in entries:
            self.choose(_fresh(entry), entry)

    def found(self, source: str, file: FoundFile, old: Entry | None) -> Entry:
        key = old.file_key if old else self.pseudonyms.file(self.center.name, source, file.path)
        entry = Entry(
            file_key=key,
            source=source,
            path=file.path,
            size_bytes=max(0, file.size_bytes),
            mtime_ns=file.mtime_ns,
            inode=file.inode,
            kind=Kind.IMAGE,
            status=FileStatus.PENDING,
            first_seen_at=self.seen_at,
            last_seen_at=self.seen_at,
            stem=stem_of(printable(name_of(file.path))),
        )
        return entry if file.refusal is None else refused(entry, file.refusal, file.detail)

    def place(self, entry: Entry) -> str:
        """A file's absolute path as text; a member's is that of its archive and its own."""
        return place_of(real_place(self.roots[entry.source]), entry.path)

    def kind_of(self, place: str, name: str) -> Kind:
        """A configured table; a mask by the index, its ending, its folder or its stem; else (maybe) an image."""
        if place in self.tables:
            return Kind.TABLE
        if place in self.index.masks or name.lower().endswith((*VOLUMES, DRAWING)):
            return Kind.MASK
        if place in self.index.images or not is_mask_name(name):
            return Kind.IMAGE
        is_in_folder = any(place.startswith(folder) for folder in self.mask_folders)
        return Kind.MASK if is_in_folder or is_mask_stem(stem_of(name)) else Kind.IMAGE


def make_plan(
    center: CenterArchive,
    known: Ledger,
    index: Sheet | None,
    pseudonyms: Pseudonyms,
    seen_at: datetime,
    *,
    is_index_news: bool,
) -> Plan:
    """Walk the center's sources and say what is to be looked at.

    Raises:
        NothingToDoError: an entry is missing or empty, or most of what it held vanished.
    """
    roots = center.roots()
    found = {source: center.walk_source(source, root) for source, root in roots.items()}
    planner = _Planner(
        center,
        known,
        pseudonyms,
        seen_at,
        roots,
        tables=frozenset(os.path.realpath(path) for path in center.tables.values()),
        mask_folders=tuple(os.path.realpath(path) + "/" for path in center.masks),
    )
    differences = {
        source: compare(files, known, source, within=listed_folders(roots[source])) for source, files in found.items()
    }
    for source, difference in differences.items():
        if difference.is_a_gone_mount:
            raise NothingToDoError(
                f"center {center.name}: {difference.vanished_count} of {difference.known_count} known files of "
                f"{source} are not there; the mount is gone, or half an archive was moved: mount it, or mend "
                "[[center]] archive"
            )
    rotten = silently_changed(known, roots, seen_at.toordinal())
    has_news = is_index_news or bool(rotten) or any(difference.changed for difference in differences.values())
    if index is not None and center.index is not None and has_news:
        folder = Path(os.path.realpath(center.index.parent))
        planner.pictures = _pictures(roots, found)
        planner.index = read_index(index, folder, [place for place, files in planner.pictures.items() for _ in files])
    gone = [entry for difference in differences.values() for entry in known.entries(difference.gone)]
    for source, difference in differences.items():
        rows = [row for _, row in difference.changed if row is not None]
        old = dict(zip(rows, known.entries(pa.array(rows, pa.int64())), strict=True)) if rows else {}
        for file, row in difference.changed:
            entry = planner.found(source, file, old.get(row) if row is not None else None)
            planner.choose(entry, old.get(row) if row is not None else None)
    planner.choose_again(rotten)
    _choose_dependents(planner, {entry.file_key for entry in gone}, is_index_news=is_index_news)
    return _plan(planner, gone)


def tasks_of(entries: Iterable[Entry], roots: Mapping[str, Root]) -> list[Task]:
    """The tasks of looking at some files."""
    real = {source: real_place(root) for source, root in roots.items()}
    return [Task(roots[e.source], place_of(real[e.source], e.path), e) for e in entries]


def _pictures(roots: Mapping[str, Root], found: Mapping[str, Sequence[FoundFile]]) -> dict[str, list[_Where]]:
    """All files that can be pictures or masks, by place; two members of one archive can have one place."""
    pictures: dict[str, list[_Where]] = defaultdict(list)
    for source, files in found.items():
        root = real_place(roots[source])
        for file in files:
            if file.refusal is None and is_mask_name(name_of(file.path)):
                pictures[place_of(root, file.path)].append((source, file.path))
    return pictures


def _choose_dependents(planner: _Planner, gone: set[str], *, is_index_news: bool) -> None:
    """Files that look the same, but of which what they hang on changed."""
    known, chosen = planner.known, planner.chosen
    if is_index_news and planner.index.images:
        is_picture = pc.is_in(known.column("kind"), value_set=pa.array([Kind.IMAGE.value, Kind.MASK.value]))
        for entry in known.entries(is_picture):
            if entry.file_key not in gone and entry.path.lower().endswith(_BYTE_SUFFIXES):
                _choose_if_mended(planner, entry)
    if gone:
        lost = known.where("file_key", sorted(gone))
        copies = known.where("sha256", sorted({str(entry.sha256) for entry in lost if entry.sha256}))
        planner.choose_again(entry for entry in copies if entry.status is FileStatus.DUPLICATE)
    if chosen or gone:
        waiting = known.where("reason", [Reason.MASK_WITHOUT_IMAGE.value])
        planner.choose_again(entry for entry in waiting if entry.file_key not in gone and entry.status != "gone")
    stems = sorted({s for e in chosen.values() if e.kind is Kind.MASK for s in starts_of(e.stem)})
    several = [
        entry
        for entry in (known.where("stem", stems) if stems else [])
        if entry.kind is Kind.IMAGE
        and entry.status is FileStatus.INGESTED
        and entry.file_key not in gone
        and (entry.frame_count > 1 or entry.region_count > 1)
    ]
    keys = [str(entry.image_key) for entry in several]
    drawn = {entry.image_key for entry in (known.where("image_key", keys) if keys else []) if entry.kind is Kind.MASK}
    planner.choose_again(entry for entry in several if entry.image_key not in drawn)


def _choose_if_mended(planner: _Planner, entry: Entry) -> None:
    """A picture whose row in the index table is another than before, or that the table now calls a mask."""
    place = planner.place(entry)
    row = planner.index.images.get(place)
    is_other_row = row is not None and entry.index_hash != row.fingerprint(planner.pseudonyms)
    if is_other_row or (entry.kind is not Kind.MASK and place in planner.index.masks):
        planner.choose_again([entry])


def _plan(planner: _Planner, gone: list[Entry]) -> Plan:
    chosen = sorted(planner.chosen.values(), key=lambda entry: (entry.source, entry.path))
    tasks = tasks_of((entry for entry in chosen if entry.kind is not Kind.MASK), planner.roots)
    mask_tasks = tasks_of((entry for entry in chosen if entry.kind is Kind.MASK), planner.roots)
    frames, by_stem = _hints(planner, tasks, mask_tasks)
    return Plan(
        roots=planner.roots,
        tasks=tasks,
        mask_tasks=mask_tasks,
        before=planner.before,
        gone=gone,
        index=planner.index,
        masks_of=_masks_of(planner, _nameable_masks(planner, mask_tasks)),
        frames=frames,
        masks_by_stem=by_stem,
    )


def _nameable_masks(planner: _Planner, mask_tasks: Sequence[Task]) -> list[tuple[str, str]]:
    """File_key and place of every mask that the index table could name."""
    if not planner.index.masks:
        return []
    known = planner.known.where("kind", [Kind.MASK.value])
    return [(task.entry.file_key, task.place) for task in mask_tasks] + [(e.file_key, planner.place(e)) for e in known]


def _masks_of(planner: _Planner, masks: Iterable[tuple[str, str]]) -> dict[str, MaskOf]:
    """What the index table says of each mask, by its file_key."""
    found = {}
    for key, place in masks:
        if place in planner.index.masks:
            image_place, reader = planner.index.masks[place]
            source, path = planner.pictures[image_place][0]
            found[key] = MaskOf(planner.pseudonyms.file(planner.center.name, source, path), reader)
    return found


def _hints(
    planner: _Planner, tasks: Sequence[Task], mask_tasks: Sequence[Task]
) -> tuple[dict[str, int], dict[str, list[tuple[Root, bytes]]]]:
    """By image stem: the frame that a mask's ending names, and where its masks lie."""
    stems = {task.entry.stem for task in tasks if task.entry.kind is Kind.IMAGE}
    places = [(task.entry.stem, task.root, task.entry.path) for task in mask_tasks]
    if stems:
        is_mask = pc.equal(planner.known.column("kind"), Kind.MASK.value)
        masks = planner.known.files.filter(is_mask).select(["stem", "source", "path"])
        places += [(row["stem"], planner.roots[row["source"]], row["path"]) for row in masks.to_pylist()]
    by_stem: dict[str, list[tuple[Root, bytes]]] = defaultdict(list)
    for stem, root, path in places:
        match = match_stem(stem, stems)
        if match is not None:
            by_stem[match.stem].append((root, path))
    return frames_named((stem for stem, _, _ in places), stems), by_stem


def _fresh(entry: Entry) -> Entry:
    return Entry(
        file_key=entry.file_key,
        source=entry.source,
        path=entry.path,
        size_bytes=entry.size_bytes,
        mtime_ns=entry.mtime_ns,
        inode=entry.inode,
        kind=entry.kind,
        status=FileStatus.PENDING,
        first_seen_at=entry.first_seen_at,
        last_seen_at=entry.last_seen_at,
        stem=entry.stem,
    )
