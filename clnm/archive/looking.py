"""The first look at one file: read once, hash, check, decode, crop. What follows from it is decided later."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from clnm.archive.entry import Entry, Kind
from clnm.archive.headers import demand_ultrasound, is_segmentation, read_header
from clnm.archive.sights import Look, Sight, Task
from clnm.archive.sources import read
from clnm.archive.walk import is_archive, name_of
from clnm.entities import FileStatus, Reason, SpacingSource
from clnm.imaging import cache
from clnm.imaging.decode import Frame, decode_frame
from clnm.imaging.dicom import parse_dicom
from clnm.imaging.drawings import SUFFIX as DRAWING
from clnm.imaging.drawings import read_drawing
from clnm.imaging.likeness import likeness_of
from clnm.imaging.masks import LabelImage, read_mask
from clnm.imaging.pictures import SUFFIXES, read_picture
from clnm.imaging.refusal import UNTRUSTED, RefusedError
from clnm.imaging.regions import Region, choose_region, image_regions, whole_frame
from clnm.imaging.segmentations import read_segmentation

_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima", ".dc3", ".img")
_PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".7z", ".rar", ".iso")
_PLAIN_NAMES = frozenset({"readme", "license", "licence", "copying", "manifest", "version", ".ds_store"})
_QUIET = frozenset({Reason.SOP_CLASS, Reason.NOT_AN_IMAGE, Reason.NOT_IN_INDEX})
"""By rule not for us: ignored, not quarantined."""
_CUT = frozenset(
    {Reason.EMPTY, Reason.TRUNCATED_HEADER, Reason.TRUNCATED_PIXELS, Reason.ARCHIVE_TRUNCATED, Reason.MASK_UNREADABLE}
)
"""What a file looks like while it is being copied."""


def look_here(look: Look, tasks: Iterable[Task]) -> Iterator[Sight]:
    """In this process, one file after the other: what a decoder does to its process, it does to this one."""
    return (put_by(look, look_at(look, task)) for task in tasks)


def put_by(look: Look, sight: Sight) -> Sight:
    """What was seen, its pixels waiting in the cache: whoever decides about the file need not be handed them.

    Raises:
        StoreError: the disk is full or cannot be written.
    """
    if sight.pixels is None:
        return sight
    cache.write_image(look.room, sight.entry.file_key, sight.pixels)
    return replace(sight, pixels=None)


def look_at(look: Look, task: Task) -> Sight:
    """Look at a file for the first time, or again. Never raises for what the file holds: a refusal is a state."""
    if task.entry.reason:
        return Sight(_refused(look, task.entry, RefusedError(Reason(task.entry.reason), task.entry.detail)))
    fetched = fetch(look, task)
    if isinstance(fetched, Sight):
        return fetched
    assert fetched.content is not None
    try:
        return _see(look, fetched, fetched.content)
    except RefusedError as error:
        refusal = error
    except UNTRUSTED as error:  # a header's values are parsed where they are asked for
        refusal = RefusedError(Reason.MALFORMED, type(error).__name__)
    return Sight(_refused(look, fetched.entry, refusal))


def fetch(look: Look, task: Task) -> Task | Sight:
    """A task with its bytes and their checksum; or, where they cannot be had, what that means for the file."""
    if task.content is not None:
        return task
    entry = task.entry
    try:
        content = read(task.root, entry.path)
    except RefusedError as refusal:
        return Sight(_refused(look, entry, refusal))
    except UNTRUSTED as error:
        return Sight(_refused(look, entry, RefusedError(Reason.MALFORMED, type(error).__name__)))
    entry = replace(entry, size_bytes=entry.size_bytes or len(content), sha256=hashlib.sha256(content).hexdigest())
    return replace(task, entry=entry, content=content)


def refused(entry: Entry, reason: Reason, detail: str = "") -> Entry:
    """The entry in the state that a reason means."""
    status = FileStatus.IGNORED if reason in _QUIET else FileStatus.QUARANTINED
    if reason is Reason.NOT_FETCHED:
        status = FileStatus.PENDING
    return replace(entry, status=status, reason=reason.value, detail=detail)


def stem_of(name: str) -> str:
    """A file's name without its ending; what follows the last dot is one only if it is short and no number."""
    lower = name.lower()
    for ending in (".nii.gz", ".seg.nrrd"):
        if lower.endswith(ending):
            return name[: -len(ending)]
    head, dot, tail = name.rpartition(".")
    return head if dot and head and 0 < len(tail) <= 5 and not tail.isdigit() else name


def _see(look: Look, task: Task, content: bytes) -> Sight:
    entry, name = task.entry, name_of(task.entry.path)
    if entry.kind is Kind.MASK:
        return _see_mask(look, entry, content)
    if entry.kind is Kind.TABLE:
        return Sight(_ingested(entry))
    if name.lower().endswith(SUFFIXES):
        return _see_picture(look, task, content)
    return _see_dicom(look, entry, content)


def _see_mask(look: Look, entry: Entry, content: bytes) -> Sight:
    """A mask; a segmentation may say itself what it was drawn on, and by whom."""
    if content[128:132] != b"DICM":
        return Sight(_ingested(entry), labels=_read_labels(content, name_of(entry.path)))
    drawn, keys = read_segmentation(content), look.pseudonyms
    image_key = keys.image(look.center, drawn.image_uid, drawn.frame) if drawn.image_uid else ""
    author = keys.text("reader", drawn.author) if drawn.author else ""
    return Sight(_ingested(entry), labels=drawn.labels, drawn_on=image_key, author=author)


def _read_labels(content: bytes, name: str) -> LabelImage:
    if content[128:132] == b"DICM":
        return read_segmentation(content).labels
    return read_drawing(content) if name.lower().endswith(DRAWING) else read_mask(content, name)


def _see_dicom(look: Look, entry: Entry, content: bytes) -> Sight:
    _demand_dicom_like(name_of(entry.path).lower(), content)
    file = parse_dicom(content)
    if is_segmentation(file.dataset):
        return Sight(replace(entry, kind=Kind.MASK))
    demand_ultrasound(file.dataset)
    file.demand_pixels()  # a header that was cut misses more than the id it misses first
    header = read_header(file.dataset)
    frame = decode_frame(file, frame=look.frames.get(entry.stem))
    regions = image_regions(file.dataset, *frame.luminance.shape)
    region = regions[0] if len(regions) == 1 else choose_region(regions, _drawn(look, entry, frame.luminance.shape))
    keys = look.pseudonyms
    patient_key = keys.patient(look.center, header.patient_id)
    known = replace(
        entry,
        image_key=keys.image(look.center, header.sop_uid, frame.index),
        patient_key=patient_key,
        study_key=keys.study(look.center, header.study_uid),
        acquired_at=keys.shifted(patient_key, header.acquired_at),
        region_count=len(regions),
    )
    sight = _seen(known, frame, region, header.manufacturer, header.model)
    return replace(sight, patient_id=header.patient_id)


def _see_picture(look: Look, task: Task, content: bytes) -> Sight:
    row, entry, keys = look.index.get(task.place), task.entry, look.pseudonyms
    if row is None:
        raise RefusedError(Reason.NOT_IN_INDEX)
    entry = replace(entry, index_hash=row.fingerprint(keys))
    if row.refusal:
        return Sight(refused(entry, Reason.CONTENT_CONFLICT, row.refusal))
    if not row.patient:
        return Sight(refused(entry, Reason.MISSING_TAG, "patient"))
    try:
        frame = read_picture(content)
    except RefusedError as refusal:
        return Sight(_refused(look, entry, refusal))
    region = whole_frame(*frame.luminance.shape)
    if row.spacing_mm is not None:
        x, y = row.spacing_mm
        region = replace(region, spacing_x_mm=x, spacing_y_mm=y, source=SpacingSource.INDEX)
    day = row.acquired_at.date().isoformat() if row.acquired_at else ""
    patient_key = keys.patient(look.center, row.patient)
    known = replace(
        entry,
        image_key=keys.image(look.center, str(entry.sha256), 0),
        patient_key=patient_key,
        study_key=keys.study(look.center, row.study or f"{row.patient}\x00{day}"),
        acquired_at=keys.shifted(patient_key, row.acquired_at),
    )
    return replace(_seen(known, frame, region, row.manufacturer, row.model), patient_id=row.patient)


def _seen(entry: Entry, frame: Frame, region: Region, manufacturer: str, model: str) -> Sight:
    rows, columns = frame.luminance.shape
    placed = replace(
        _ingested(entry),
        rows_px=rows,
        columns_px=columns,
        top=region.top,
        bottom=region.bottom,
        left=region.left,
        right=region.right,
        spacing_x_mm=region.spacing_x_mm,
        spacing_y_mm=region.spacing_y_mm,
        frame=frame.index,
        frame_count=frame.count,
        likeness=likeness_of(region.crop(frame.luminance)),
    )
    return Sight(
        placed,
        manufacturer=manufacturer,
        model=model,
        transfer_syntax=frame.transfer_syntax,
        decoder=frame.decoder,
        spacing_source=region.source,
        pixels=region.crop(frame.luminance),
    )


def _demand_dicom_like(name: str, content: bytes) -> None:
    """By rule ignored: what neither says inside nor by its name that it is DICOM. What is packed may hold patients."""
    if content[128:132] == b"DICM" or not content:
        return
    if is_archive(name) or name.endswith(_PACKED_SUFFIXES):
        raise RefusedError(Reason.NOT_DICOM, "packed")
    ending = name.rpartition(".")[2] if "." in name.lstrip(".") else ""
    has_other_ending = bool(ending) and not ending.isdigit() and len(ending) <= 5
    if name in _PLAIN_NAMES or (has_other_ending and not name.endswith(_DICOM_SUFFIXES)):
        raise RefusedError(Reason.NOT_AN_IMAGE)


def _drawn(look: Look, entry: Entry, shape: tuple[int, ...]) -> np.ndarray | None:
    """What the masks of an image mark on its whole frame; None where there is none that says so."""
    marked = np.zeros(shape, dtype=bool)
    for root, path in look.masks.get(entry.stem, ()):
        try:
            labels = _read_labels(read(root, path), name_of(path)).on_frame(*shape)
        except RefusedError:  # its own look says why
            continue
        if labels is not None:
            marked |= labels.any_label()
    return marked if marked.any() else None


def _ingested(entry: Entry) -> Entry:
    return replace(entry, status=FileStatus.INGESTED, reason="", detail="")


def _refused(look: Look, entry: Entry, refusal: RefusedError) -> Entry:
    """A file that is not whole and was touched a moment ago is still being copied: it waits."""
    if refusal.reason in _CUT and 0 <= look.now_ns - entry.mtime_ns < look.max_still_copying_ns:
        return replace(entry, status=FileStatus.PENDING, reason=Reason.STILL_COPYING.value, detail="")
    return refused(entry, refusal.reason, refusal.detail)
