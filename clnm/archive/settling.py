"""What becomes of looked-at files, in the order of their paths: duplicates, conflicts, images, fitted masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from clnm.archive.ledger import Entry, Kind
from clnm.archive.looking import Sight, refused
from clnm.archive.matching import DEFAULT_READER, match_stem
from clnm.archive.pseudonyms import Pseudonyms
from clnm.entities import FileStatus, Image, Reason, Roi, SpacingSource
from clnm.imaging import cache
from clnm.imaging.masks import fit_mask, touches_border
from clnm.imaging.refusal import RefusedError
from clnm.imaging.regions import Region

_HAD_ROWS = {FileStatus.INGESTED, FileStatus.GONE}


@dataclass(slots=True)
class Settling:
    """The entries as they come to stand, and the new rows that follow."""

    center: str
    pseudonyms: Pseudonyms
    pixels: Path
    seen_at: datetime
    before: Mapping[str, Entry]
    entries: dict[str, Entry]
    images: list[Image] = field(default_factory=list)
    rois: list[Roi] = field(default_factory=list)

    def settle_files(self, sights: Iterable[Sight]) -> None:
        """Images, tables and everything that is no mask."""
        by_sha, by_image = self._accepted()
        for sight in sights:
            entry = self._conflict(sight.entry, by_sha, by_image)
            self.entries[entry.file_key] = self._counted(entry)
            if entry.kind is Kind.IMAGE and entry.status is FileStatus.INGESTED:
                by_sha[str(entry.sha256)], by_image[str(entry.image_key)] = entry, entry
                self._accept(sight, entry)

    def settle_masks(self, sights: Iterable[Sight], masks_of: Mapping[str, tuple[str, str]]) -> None:
        """Masks, fitted to their ingested image. `masks_of`: image file_key and reader by mask file_key."""
        images = {
            e.file_key: e for e in self.entries.values() if e.kind is Kind.IMAGE and e.status is FileStatus.INGESTED
        }
        by_stem: dict[str, list[Entry]] = {}
        for image in images.values():
            by_stem.setdefault(image.stem, []).append(image)
        for sight in sights:
            entry = sight.entry
            if entry.status is FileStatus.INGESTED:
                try:
                    entry = self._fit(sight, images, by_stem, masks_of)
                except RefusedError as refusal:
                    entry = refused(entry, refusal.reason, refusal.detail)
            self.entries[entry.file_key] = self._counted(entry)

    def _accepted(self) -> tuple[dict[str, Entry], dict[str, Entry]]:
        ingested = [e for e in self.entries.values() if e.kind is Kind.IMAGE and e.status in _HAD_ROWS and e.image_key]
        return {str(e.sha256): e for e in ingested}, {str(e.image_key): e for e in ingested}

    def _conflict(self, entry: Entry, by_sha: Mapping[str, Entry], by_image: Mapping[str, Entry]) -> Entry:
        """The entry, or its state where the same content or the same UID is in already."""
        old = self.before.get(entry.file_key)
        if entry.kind is not Kind.IMAGE or entry.status is not FileStatus.INGESTED:
            return entry
        if old is not None and old.status in _HAD_ROWS and old.sha256 != entry.sha256:
            kept = replace(old, size_bytes=entry.size_bytes, mtime_ns=entry.mtime_ns, inode=entry.inode)
            return refused(kept, Reason.CHECKSUM_CHANGED)
        twin = by_sha.get(str(entry.sha256))
        if twin is not None and twin.file_key != entry.file_key:
            if twin.patient_key != entry.patient_key:
                return replace(refused(entry, Reason.CONTENT_CONFLICT), image_key=None)
            return replace(entry, status=FileStatus.DUPLICATE, reason=Reason.DUPLICATE_OF.value, image_key=None)
        twin = by_image.get(str(entry.image_key))
        if twin is not None and twin.file_key != entry.file_key:
            return replace(refused(entry, Reason.UID_CONFLICT), image_key=None)
        return entry

    def _counted(self, entry: Entry) -> Entry:
        """When it was first and last seen, and how often it was tried."""
        old = self.before.get(entry.file_key)
        if old is None:
            return replace(entry, first_seen_at=self.seen_at, last_seen_at=self.seen_at, attempts=1)
        return replace(entry, first_seen_at=old.first_seen_at, last_seen_at=self.seen_at, attempts=old.attempts + 1)

    def _accept(self, sight: Sight, entry: Entry) -> None:
        """Keep the pixels, then the row: a file that comes back after it was gone is no news."""
        old = self.before.get(entry.file_key)
        assert sight.pixels is not None
        assert entry.image_key is not None
        assert entry.study_key is not None
        assert entry.patient_key is not None
        cache.write_image(self.pixels, entry.image_key, sight.pixels)
        if old is not None and old.status in _HAD_ROWS and old.sha256 == entry.sha256:
            return
        self.images.append(
            Image(
                image_key=entry.image_key,
                study_key=entry.study_key,
                patient_key=entry.patient_key,
                center=self.center,
                acquired_at=entry.acquired_at,
                known_at=self.seen_at,
                rows_px=sight.pixels.shape[0],
                columns_px=sight.pixels.shape[1],
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

    def _fit(
        self,
        sight: Sight,
        images: Mapping[str, Entry],
        by_stem: Mapping[str, list[Entry]],
        masks_of: Mapping[str, tuple[str, str]],
    ) -> Entry:
        image, reader = self._image_of(sight.entry, images, by_stem, masks_of)
        assert sight.labels is not None
        region = Region(image.top, image.bottom, image.left, image.right, None, None, SpacingSource.NONE)
        fitted = fit_mask(sight.labels, region, (image.rows_px, image.columns_px))
        old = self.before.get(sight.entry.file_key)
        is_news = old is None or old.status not in _HAD_ROWS or old.sha256 != sight.entry.sha256
        for label, mask in fitted.items():
            roi = self._roi(image, reader, label, mask)
            cache.write_mask(self.pixels, roi.roi_key, mask)
            if is_news:
                self.rois.append(roi)
        return replace(sight.entry, image_key=image.image_key, reader=reader)

    def _image_of(
        self,
        mask: Entry,
        images: Mapping[str, Entry],
        by_stem: Mapping[str, list[Entry]],
        masks_of: Mapping[str, tuple[str, str]],
    ) -> tuple[Entry, str]:
        if mask.file_key in masks_of:
            key, reader = masks_of[mask.file_key]
            if key not in images:
                raise RefusedError(Reason.MASK_WITHOUT_IMAGE)
            return images[key], reader or DEFAULT_READER
        match = match_stem(mask.stem, by_stem)
        if match is None:
            raise RefusedError(Reason.MASK_WITHOUT_IMAGE)
        candidates = by_stem[match.stem]
        if len(candidates) > 1:
            raise RefusedError(Reason.MASK_WITHOUT_IMAGE, f"{len(candidates)} images of this stem")
        if match.frame is not None and match.frame != candidates[0].frame:
            raise RefusedError(Reason.MASK_MISMATCH, f"frame {match.frame}, image frame {candidates[0].frame}")
        return candidates[0], match.reader

    def _roi(self, image: Entry, reader: str, label: int, mask: object) -> Roi:
        import hashlib

        import numpy as np

        assert image.image_key is not None
        assert image.patient_key is not None
        assert image.study_key is not None
        marked = np.asarray(mask, dtype=bool)
        area_px = int(marked.sum())
        known_spacing = image.spacing_x_mm is not None and image.spacing_y_mm is not None
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
            area_mm2=area_px * image.spacing_x_mm * image.spacing_y_mm if known_spacing else None,  # type: ignore[operator]
            touches_border=touches_border(marked),
            mask_sha256=hashlib.sha256(np.packbits(marked).tobytes()).hexdigest(),
        )
