"""What becomes of looked-at files, in the order of their paths: duplicates, conflicts, images, fitted masks."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from clnm.archive.accepted import Accepted
from clnm.archive.entry import Entry, Kind
from clnm.archive.ledger import Ledger
from clnm.archive.looking import refused
from clnm.archive.matching import DEFAULT_READER, MaskOf, match_stem, nearest_image, reader_code, starts_of
from clnm.archive.pseudonyms import Pseudonyms
from clnm.archive.sights import Sight
from clnm.entities import FileStatus, Image, Reason, Roi, SpacingSource
from clnm.imaging import cache
from clnm.imaging.masks import fit_mask, touches_border
from clnm.imaging.refusal import RefusedError
from clnm.imaging.regions import Region


@dataclass(slots=True, repr=False)
class Settling:
    """The looked-at entries as they come to stand, and the new rows that follow."""

    center: str
    pseudonyms: Pseudonyms
    room: Path
    """Where pixels wait for the commit."""
    seen_at: datetime
    known: Ledger
    before: Mapping[str, Entry]
    """Entries of the looked-at files as they were, by file_key."""
    entries: dict[str, Entry] = field(default_factory=dict)
    images: list[Image] = field(default_factory=list)
    rois: list[Roi] = field(default_factory=list)
    accepted: Accepted = field(default_factory=Accepted)
    patients: dict[str, str] = field(default_factory=dict)
    """The hospital's own ids, by patient_key."""

    def settle_gone(self, entries: Iterable[Entry]) -> None:
        """Files that are no longer there. Their rows stay."""
        for entry in entries:
            gone = replace(entry, status=FileStatus.GONE, reason="", detail="", last_seen_at=self.seen_at)
            self.entries[entry.file_key] = gone
            self.accepted.add(gone, is_in_store=True)

    def settle_files(self, sights: Sequence[Sight]) -> None:
        """Images, tables and everything that is no mask."""
        fresh = [sight.entry for sight in sights]
        self._recall("sha256", [entry.sha256 for entry in fresh if entry.sha256])
        self._recall("image_key", [entry.image_key for entry in fresh if entry.image_key])
        for sight in sights:
            entry = self._keep(self._conflict(sight.entry))
            self.accepted.add(entry)
            if entry.patient_key is not None and sight.patient_id:
                self.patients[entry.patient_key] = sight.patient_id
            if entry.kind is Kind.IMAGE and entry.status is FileStatus.INGESTED:
                self._accept(sight, entry)
            elif sight.entry.image_key:
                cache.discard_image(self.room, entry.file_key)

    def settle_masks(self, sights: Sequence[Sight], masks_of: Mapping[str, MaskOf]) -> None:
        """Masks, fitted to their image; `masks_of`: what the index says, by key. One whose image may come waits."""
        is_more_to_come = any(entry.reason == Reason.NOT_FETCHED for entry in self.entries.values())
        masks = [sight.entry for sight in sights]
        self._recall("stem", sorted({start for mask in masks for start in starts_of(mask.stem)}))
        self._recall("file_key", [masks_of[m.file_key].image_file_key for m in masks if m.file_key in masks_of])
        self._recall("image_key", [sight.drawn_on for sight in sights if sight.drawn_on])
        self._recall("image_key", [str(image.image_key) for image in self.accepted.by_file.values()])
        for sight in sights:
            entry = sight.entry
            if entry.status is FileStatus.INGESTED:
                try:
                    entry = self._fit(sight, masks_of)
                except RefusedError as refusal:
                    entry = refused(replace(entry, image_key=None), refusal.reason, refusal.detail)
                    if is_more_to_come and refusal.reason is Reason.MASK_WITHOUT_IMAGE:
                        entry = replace(entry, status=FileStatus.PENDING)
            self.accepted.add(self._keep(entry))

    def disturbed_masks(self, looked_at: Container[str]) -> list[Entry]:
        """Ingested masks that nobody looks at now, of images whose row is new: their regions are to be fitted again."""
        changed = sorted(
            str(self.before[key].image_key)
            for key, entry in self.entries.items()
            if key in self.before and entry.image_key in self.accepted.news
        )
        masks = self.known.where("image_key", changed) if changed else []
        return [
            mask
            for mask in masks
            if mask.kind is Kind.MASK and mask.status is FileStatus.INGESTED and mask.file_key not in looked_at
        ]

    def _recall(self, column: str, values: Sequence[str]) -> None:
        """Known entries that some looked-at files could have to do with, where this run has not settled them itself."""
        for entry in self.known.where(column, values) if values else ():
            if entry.file_key not in self.entries:
                self.accepted.add(entry, is_in_store=True)

    def _keep(self, entry: Entry) -> Entry:
        """Note the entry; one that stands as before keeps its counters, so that a second look is no news."""
        old = self.before.get(entry.file_key)
        if old is not None and entry.stands_as(old):
            entry = replace(
                entry, first_seen_at=old.first_seen_at, last_seen_at=old.last_seen_at, attempts=old.attempts
            )
        elif old is not None:
            attempts = old.attempts + (old.status is not FileStatus.PENDING)
            entry = replace(entry, first_seen_at=old.first_seen_at, attempts=attempts)
        self.entries[entry.file_key] = entry
        return entry

    def _conflict(self, entry: Entry) -> Entry:
        """The entry, or its state where the same content or the same UID is in already."""
        old = self.before.get(entry.file_key)
        if entry.kind is not Kind.IMAGE or entry.status is not FileStatus.INGESTED:
            return entry
        was_asked_for = old is not None and old.reason == Reason.CHECKSUM_CHANGED and old.mtime_ns < 0
        if old is not None and old.image_key and old.sha256 != entry.sha256 and not was_asked_for:
            kept = replace(old, size_bytes=entry.size_bytes, mtime_ns=entry.mtime_ns, inode=entry.inode)
            return refused(kept, Reason.CHECKSUM_CHANGED)
        twin = self.accepted.by_sha.get(str(entry.sha256))
        if twin is not None and twin.file_key != entry.file_key:
            if twin.patient_key != entry.patient_key:
                return replace(refused(entry, Reason.CONTENT_CONFLICT), image_key=None)
            if twin.status is not FileStatus.GONE:
                return entry.as_copy_of(twin)
        twin = self.accepted.by_image.get(str(entry.image_key))
        if twin is not None and twin.file_key != entry.file_key and twin.sha256 != entry.sha256:
            return replace(refused(entry, Reason.UID_CONFLICT), image_key=None)
        return entry

    def _accept(self, sight: Sight, entry: Entry) -> None:
        """Keep the pixels, then the row; a file that moved, or came back after it was gone, is no news."""
        assert entry.image_key is not None
        assert entry.study_key is not None
        assert entry.patient_key is not None
        cache.accept_image(self.room, entry.file_key, entry.image_key)
        if self.accepted.facts.get(entry.image_key) == entry.facts:
            return
        self.accepted.news.add(entry.image_key)
        self.images.append(
            Image(
                image_key=entry.image_key,
                study_key=entry.study_key,
                patient_key=entry.patient_key,
                center=self.center,
                acquired_at=entry.acquired_at,
                known_at=self.seen_at,
                rows_px=entry.bottom - entry.top,
                columns_px=entry.right - entry.left,
                spacing_x_mm=entry.spacing_x_mm,
                spacing_y_mm=entry.spacing_y_mm,
                spacing_source=sight.spacing_source,
                manufacturer=sight.manufacturer,
                model=sight.model,
                transfer_syntax=sight.transfer_syntax,
                decoder=sight.decoder,
                frame=entry.frame,
                sha256=str(entry.sha256),
            )
        )

    def _fit(self, sight: Sight, masks_of: Mapping[str, MaskOf]) -> Entry:
        mask = sight.entry
        image, reader, part = self._drawn_on(sight) or self._image_of(mask, masks_of)
        reader = sight.author or reader
        for other in self.accepted.drawn.get(str(image.image_key), {}).values():
            if other.file_key != mask.file_key and (other.sha256, other.reader) == (mask.sha256, reader):
                return mask.as_copy_of(other)
        assert sight.labels is not None
        region = Region(image.top, image.bottom, image.left, image.right, None, None, SpacingSource.NONE)
        try:
            fitted = fit_mask(sight.labels, region, (image.rows_px, image.columns_px))
        except RefusedError as refusal:
            if refusal.reason is Reason.MASK_OUTSIDE_REGION and image.region_count > 1:
                raise RefusedError(Reason.SPACING_AMBIGUOUS, f"{image.region_count} regions") from None
            raise
        found = {label + part: marked for label, marked in fitted.items()}
        self._refuse_a_second(mask, image, reader, set(found))
        fitted_mask = replace(mask, image_key=image.image_key, reader=reader, labels=",".join(map(str, found)))
        is_news = self._is_news(fitted_mask, image)
        for label, marked in found.items():
            roi = self._roi(image, reader, label, marked)
            cache.write_mask(self.room, roi.roi_key, marked)
            if is_news:
                self.rois.append(roi)
        return fitted_mask

    def _drawn_on(self, sight: Sight) -> tuple[Entry, str, int] | None:
        """What a segmentation says itself; it is not guessed at where that is not in."""
        if not sight.drawn_on:
            return None
        if sight.drawn_on not in self.accepted.by_image:
            raise RefusedError(Reason.MASK_WITHOUT_IMAGE)
        return self.accepted.original(self.accepted.by_image[sight.drawn_on]), DEFAULT_READER, 0

    def _is_news(self, mask: Entry, image: Entry) -> bool:
        """Whether the mask is new, redrawn, or its image's facts (crop, spacing, patient) are."""
        old = self.before.get(mask.file_key)
        is_same = mask.drawing in self.accepted.were_drawn or (
            old is not None and (old.sha256, old.image_key) == (mask.sha256, image.image_key)
        )
        return not is_same or image.image_key in self.accepted.news

    def _image_of(self, mask: Entry, masks_of: Mapping[str, MaskOf]) -> tuple[Entry, str, int]:
        """The image, the reader, and what is added to the labels."""
        if mask.file_key in masks_of:
            named = masks_of[mask.file_key]
            if named.image_file_key not in self.accepted.by_file:
                raise RefusedError(Reason.MASK_WITHOUT_IMAGE)
            image = self.accepted.original(self.accepted.by_file[named.image_file_key])
            return image, reader_code(named.reader, self.pseudonyms), 0
        match = match_stem(mask.stem, self.accepted.by_stem)
        if match is None:
            raise RefusedError(Reason.MASK_WITHOUT_IMAGE)
        candidates = list(self.accepted.by_stem[match.stem].values())
        found = nearest_image(mask, candidates)
        if found is None:
            raise RefusedError(Reason.MASK_WITHOUT_IMAGE, f"{len(candidates)} images of this stem")
        image = self.accepted.original(found)
        if match.frame is not None and match.frame != image.frame:
            raise RefusedError(Reason.MASK_MISMATCH, f"frame {match.frame}, image frame {image.frame}")
        return image, reader_code(match.reader, self.pseudonyms), match.part

    def _refuse_a_second(self, mask: Entry, image: Entry, reader: str, labels: set[int]) -> None:
        """One image has one mask per reader and label: of two, nobody can say which is meant."""
        for other in self.accepted.drawn.get(str(image.image_key), {}).values():
            is_another = other.file_key != mask.file_key and other.reader == reader
            if is_another and labels & {int(label) for label in other.labels.split(",")}:
                raise RefusedError(Reason.CONTENT_CONFLICT, "a second mask of this reader and label")

    def _roi(self, image: Entry, reader: str, label: int, marked: np.ndarray) -> Roi:
        assert image.image_key is not None
        assert image.patient_key is not None
        assert image.study_key is not None
        area_px = int(np.count_nonzero(marked))
        area_mm2 = None
        if image.spacing_x_mm is not None and image.spacing_y_mm is not None:
            area_mm2 = area_px * image.spacing_x_mm * image.spacing_y_mm
        return Roi(
            roi_key=self.pseudonyms.roi(image.image_key, reader, label),
            image_key=image.image_key,
            case_key=self.pseudonyms.case(image.patient_key, image.study_key),
            patient_key=image.patient_key,
            study_key=image.study_key,
            center=self.center,
            acquired_at=image.acquired_at,
            known_at=self.seen_at,
            reader=reader,
            label=label,
            area_px=area_px,
            area_mm2=area_mm2,
            touches_border=touches_border(marked),
            mask_sha256=hashlib.sha256(np.packbits(marked).tobytes()).hexdigest(),
        )
