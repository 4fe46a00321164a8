"""Intake of one center: the walk against the ledger, a look at what changed, and everything that follows from it.

Nothing at the source is moved, changed or deleted. The same archive looked at twice gives nothing the second time.
"""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from clnm.archive.center import CenterArchive
from clnm.archive.emitting import TableRows, changes, file_asides, table_asides, unmatched_asides
from clnm.archive.entry import Entry, Kind
from clnm.archive.ledger import Ledger
from clnm.archive.likening import likeness_asides
from clnm.archive.links import seal
from clnm.archive.looking import look_here, refused
from clnm.archive.planning import Plan, make_plan, tasks_of
from clnm.archive.pseudonyms import Pseudonyms
from clnm.archive.settling import Settling
from clnm.archive.sights import Look, Sight, Task
from clnm.archive.sources import is_to_fetch
from clnm.archive.tables import Sheet, demand_columns, hint, read_sheet
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
from clnm.errors import ConfigurationError

__all__ = ["CenterArchive", "Intake", "take_in"]

LookAtAll = Callable[[Look, Iterable[Task]], Iterable[Sight]]
_PORTION = 32
_PORTION_BYTES = 128_000_000
"""Files (and bytes) looked at before it is decided about them, while the next ones are looked at: memory does not grow
with the archive."""


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
    is_whole: bool = True
    """False: there is more to fetch, by another look."""

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
    room: Path,
    seen_at: datetime,
    now_ns: int,
    settle_seconds: float = 0.0,
    max_fetched: int | None = None,
    link_half: bytes | None = None,
    look_at_all: LookAtAll = look_here,
) -> Intake:
    """Look at `center`'s archive.

    Args:
        center: where it is and what its words mean.
        known: the ledger of the last look.
        pseudonyms: the keyed hashes.
        variables: the clinical variables of the model.
        outcome: the outcome's name.
        room: of the pixel cache; what is seen lies there until the rows are committed.
        seen_at: the run's start; `known_at` of what is seen for the first time.
        now_ns: the clock against which a file is "touched a moment ago".
        settle_seconds: how long a file that is not whole may still be being copied.
        max_fetched: how many new instances are fetched from DICOMweb servers; the others wait for the next look.
        link_half: the public half of the link key; None: who a patient is, is not kept.
        look_at_all: looks at some files and keeps their order, such as `Lookers.map`.

    Raises:
        NothingToDoError: an entry is missing or empty, or most of what it held vanished.
        ConfigurationError: a table or a column that the configuration names is not there, or dates are to be shifted
            in a store in which they are not.
    """
    if len(known.files) and known.has_shifted_dates != pseudonyms.shifts_dates:
        was = str(known.has_shifted_dates).lower()
        raise ConfigurationError(
            f"center {center.name}: its dates were taken in with [pseudonyms] shift_dates = {was}; set it back, "
            "or take everything in again in a new store"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what parsers warn of quotes what they read
        sheets, digest = _read_tables(center, variables, outcome)
        is_told = digest == known.tables_digest
        plan = make_plan(center, known, sheets.get("index"), pseudonyms, seen_at, is_index_news=not is_told)
        tasks = list(_ration(plan, max_fetched))
        settling = Settling(center.name, pseudonyms, room, seen_at, known, plan.before)
        settling.settle_gone(plan.gone)
        look = Look(
            center=center.name,
            pseudonyms=pseudonyms,
            index=plan.index.images,
            frames=plan.frames,
            masks=plan.masks_by_stem,
            max_still_copying_ns=int(settle_seconds * 1e9),
            now_ns=now_ns,
            room=room,
        )
        _look_and_settle(look, replace(plan, tasks=tasks), settling, look_at_all)
        told = TableRows(center.name, pseudonyms, seen_at, known.emitted)
        if is_told and not settling.images:  # a new image can uncover what its patient's missing image hid
            told.patients, told.asides = set(known.patients), table_asides(known.asides)
            told.said = set(known.emitted)
        else:
            _tell(told, sheets, variables, outcome, plan)
        sealed = _seal(known, {**told.raw_ids, **settling.patients}, link_half)
    known = replace(known, links={**known.links, **sealed})
    return replace(_result(center, known, settling, told, digest), is_whole=tasks == plan.tasks)


def _seal(known: Ledger, raw_ids: Mapping[str, str], link_half: bytes | None) -> dict[str, bytes]:
    """The links that are not kept yet."""
    if link_half is None:
        return {}
    return {key: seal(link_half, key, raw) for key, raw in raw_ids.items() if key not in known.links}


def _read_tables(
    center: CenterArchive, variables: Sequence[ClinicalVariable], outcome: str
) -> tuple[dict[str, Sheet], str]:
    """The configured tables, and a digest of all that their rows follow from."""
    vocabulary = center.vocabulary
    sheets = {key: read_sheet(path, vocabulary, center=center.name, key=key) for key, path in center.tables.items()}
    demand_columns(sheets, vocabulary, center=center.name)
    _demand_outcome(center, sheets, outcome)
    words = (center.columns or {}, center.values or {}, center.table, tuple(variables), outcome)
    digest = hashlib.sha256(repr(words).encode())
    for key, path in sorted(center.tables.items()):
        digest.update(key.encode() + hashlib.sha256(path.read_bytes()).digest())
    return sheets, digest.hexdigest()


def _demand_outcome(center: CenterArchive, sheets: Mapping[str, Sheet], outcome: str) -> None:
    told = [sheet for key, sheet in sheets.items() if key != "index"]
    if center.role is Role.SCORE or not told or any(sheet.column(outcome) is not None for sheet in told):
        return
    wanted = (center.columns or {}).get(outcome, outcome)
    there = sorted({column for sheet in told for column in sheet.columns})
    raise ConfigurationError(
        f"center {center.name}: none of its tables has a column {wanted!r} for the outcome; map {outcome} in "
        f'[center.columns], or give the center role "score"; {hint(wanted, there)}'
    )


def _look_and_settle(look: Look, plan: Plan, settling: Settling, look_at_all: LookAtAll) -> None:
    """Everything but masks first, then masks (and what turned out to be one); those of changed images again."""
    segmentations = []
    with closing(_looked_at(look, plan.tasks, look_at_all)) as seen:
        for portion, sights in seen:
            settling.settle_files([sight for sight in sights if sight.entry.kind is not Kind.MASK])
            segmentations += [
                replace(task, entry=replace(task.entry, kind=Kind.MASK))
                for task, sight in zip(portion, sights, strict=True)
                if sight.entry.kind is Kind.MASK
            ]
    mask_tasks = [*plan.mask_tasks, *segmentations]
    looked_at = {task.entry.file_key for task in mask_tasks}
    again = tasks_of(settling.disturbed_masks(looked_at), plan.roots)
    settling.before = {**settling.before, **{task.entry.file_key: task.entry for task in again}}
    with closing(_looked_at(look, [*mask_tasks, *(plan.fresh(task) for task in again)], look_at_all)) as seen:
        for _, sights in seen:
            settling.settle_masks(sights, plan.masks_of)


def _looked_at(look: Look, tasks: Sequence[Task], look_at_all: LookAtAll) -> Generator[tuple[list[Task], list[Sight]]]:
    """Each portion and what was seen of it; with a pool, the next one is looked at while this one is settled.

    Whoever stops early waits for the portion that is being looked at: its server is about to be closed.
    """
    ahead: deque[tuple[list[Task], Iterable[Sight]]] = deque()
    try:
        for portion in itertools.chain(_portions(tasks), [[]]):
            if portion:
                ahead.append((portion, look_at_all(look, portion)))
            if len(ahead) > bool(portion):
                done, sights = ahead.popleft()
                yield done, list(sights)
    finally:
        for _, sights in ahead:
            with suppress(Exception):  # what ended the intake is told
                deque(sights, maxlen=0)


def _ration(plan: Plan, max_fetched: int | None) -> Iterator[Task]:
    """The tasks, all but the first `max_fetched` new instances of servers put off; what was asked for once is free."""
    left = max_fetched
    for task in plan.tasks:
        old = plan.before.get(task.entry.file_key)
        is_new = old is None or old.status is FileStatus.PENDING
        is_asked = task.entry.reason or not is_new or not is_to_fetch(task.root, task.entry.path)
        if left is None or is_asked:
            yield task
        elif left > 0:
            left -= 1
            yield task
        else:
            yield replace(task, entry=refused(task.entry, Reason.NOT_FETCHED))


def _portions(tasks: Sequence[Task]) -> Iterator[list[Task]]:
    portion: list[Task] = []
    held = 0
    for task in tasks:
        if portion and (len(portion) == _PORTION or held + task.entry.size_bytes > _PORTION_BYTES):
            yield portion
            portion, held = [], 0
        portion.append(task)
        held += task.entry.size_bytes
    if portion:
        yield portion


def _tell(
    told: TableRows, sheets: Mapping[str, Sheet], variables: Sequence[ClinicalVariable], outcome: str, plan: Plan
) -> None:
    if "clinical" in sheets:
        told.read_clinical(sheets["clinical"], variables)
    for key in ("outcomes", "clinical"):
        if key in sheets:
            told.read_outcomes(sheets[key], outcome)
    for written in plan.index.missing:
        key = told.pseudonyms.text("index", told.pseudonyms.named(told.center), written)
        told.set_aside(key, Reason.MISSING_IMAGE, "named in the index")
    for patient, column in plan.index.unreadable:
        told.set_aside(told.pseudonyms.patient(told.center, patient), Reason.VALUE_UNREADABLE, column)


def _result(center: CenterArchive, known: Ledger, settling: Settling, told: TableRows, digest: str) -> Intake:
    ledger = replace(
        known,
        files=known.with_entries(settling.entries.values()),
        emitted=frozenset(told.said),
        patients=frozenset(told.patients),
        tables_digest=digest,
        has_shifted_dates=settling.pseudonyms.shifts_dates,
    )
    seen_at = settling.seen_at
    alike = likeness_asides(ledger, known.asides, settling.accepted.news, seen_at)
    open_now = alike | told.asides | unmatched_asides(told.patients, ledger, seen_at) | file_asides(ledger, seen_at)
    attempts = {key: entry.attempts for key, entry in settling.entries.items()}
    set_aside, asides = changes(center.name, known.asides, open_now, attempts, seen_at)
    before = {entry.file_key: entry for entry in known.where("file_key", sorted(settling.entries))}
    changed = [entry for key, entry in settling.entries.items() if _is_news(before.get(key), entry)]
    return Intake(
        files=[entry.state(center.name) for entry in changed],
        set_aside=set_aside,
        images=settling.images,
        rois=settling.rois,
        clinical=told.clinical,
        outcomes=told.outcomes,
        ledger=replace(ledger, asides=asides),
        counts=ledger.counts(),
    )


def _is_news(old: Entry | None, entry: Entry) -> bool:
    return old is None or not entry.stands_as(old) or old.kind is not entry.kind
