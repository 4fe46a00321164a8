"""Spoiled nights: arrivals that are well-formed file by file, and wrong. Intake takes them in; the gate must hold them.

`faults` plants what intake must set aside; here is what only a look at the whole batch tells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clnm.simulate.arrivals import Arrival
from clnm.simulate.masks import write_mask_file
from clnm.simulate.tables import write_text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_BOX_MARGIN = 0.03
"""Of each side of the region: a box that marks 88 % of it."""
_DAYS_AHEAD = 400


class Spoil(StrEnum):
    """What goes wrong with a center's night."""

    SPACING_TENFOLD = "spacing_tenfold"
    """Millimetres written where DICOM wants centimetres: every pixel is ten times too large."""
    SPACING_TENTH = "spacing_tenth"
    """The reverse: every pixel is ten times too small."""
    FUTURE = "future"
    """One scanner's clock is more than a year ahead."""
    SATURATED = "saturated"
    """The gain is far too high: most of the tissue is white."""
    BLANK = "blank"
    """The pictures were exported without their content: one grey level all over."""
    TWIN = "twin"
    """One patient's picture and mask under a second patient's name and identifiers."""
    FOREIGN = "foreign"
    """A file of another center's patient lies in this center's archive."""
    MASK_BOX = "mask_box"
    """The masks mark a box around nearly all of the picture."""
    MASK_REPEATED = "mask_repeated"
    """The mask of the first patient was exported for every patient."""
    SIZE_IN_CM = "size_in_cm"
    """A column of millimetres is written in centimetres."""
    EMPTY_COLUMN = "empty_column"
    """A column that was always filled comes empty."""
    OUTCOME_ONE_WORD = "outcome_one_word"
    """Pathology's table says positive of everyone."""


@dataclass(frozen=True, slots=True)
class Night:
    """One center's arrivals of a night, in the installation `directory`; `earlier`: those there already, of any."""

    directory: Path
    arrivals: Sequence[Arrival]
    earlier: Sequence[Arrival]

    def folder(self, arrival: Arrival) -> Path:
        """The archive folder of the arrival's center."""
        return self.directory / "archives" / arrival.center.name

    def masks(self) -> list[tuple[Arrival, Path]]:
        """Every new mask with whose it is."""
        return [(arrival, mask) for arrival in self.arrivals for mask in arrival.masks(self.folder(arrival))]


def spoil(night: Night, kind: Spoil) -> None:
    """Spoil a delivered night before anyone looks at it."""
    _SPOILERS[kind](night)


def _scale_spacing(night: Night, factor: float) -> None:
    def scale(header: Dataset) -> None:
        for region in header.SequenceOfUltrasoundRegions:
            region.PhysicalDeltaX, region.PhysicalDeltaY = (
                region.PhysicalDeltaX * factor,
                region.PhysicalDeltaY * factor,
            )

    _rewrite(night, night.arrivals, scale)


def _put_ahead(night: Night) -> None:
    def put_ahead(header: Dataset) -> None:
        day = f"{night.arrivals[0].case.exam_at + timedelta(days=_DAYS_AHEAD):%Y%m%d}"
        header.StudyDate = header.SeriesDate = header.ContentDate = day

    _rewrite(night, night.arrivals[:1], put_ahead)


def _repaint(night: Night, paint: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> None:
    """Other pixels in the ultrasound regions, uncompressed."""

    def repaint(header: Dataset) -> None:
        if header.file_meta.TransferSyntaxUID.is_compressed:
            header.decompress()
        pixels = np.frombuffer(header.PixelData, dtype=np.uint8)
        size = (int(header.get("NumberOfFrames", 1)), header.Rows, header.Columns, header.SamplesPerPixel)
        frames = pixels[: int(np.prod(size))].reshape(size).copy()
        region = header.SequenceOfUltrasoundRegions[0]
        rows = slice(region.RegionLocationMinY0, region.RegionLocationMaxY1 + 1)
        columns = slice(region.RegionLocationMinX0, region.RegionLocationMaxX1 + 1)
        frames[:, rows, columns] = paint(frames[:, rows, columns])
        content = frames.tobytes()
        header.PixelData = content + b"\0" * (len(content) % 2)

    _rewrite(night, night.arrivals, repaint)


def _turn_up(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.clip(pixels.astype(np.int16) * 4 + 120, 0, 255).astype(np.uint8)


def _twin(night: Night) -> None:
    """The first arrival's picture is that of an earlier patient of the center."""
    new = night.arrivals[0]
    other = next(arrival for arrival in night.earlier if arrival.center == new.center)
    folder = night.folder(new)
    header, mine = _read(folder / other.image), _read(folder / new.image)
    for name in ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyID", "StudyDate"):
        setattr(header, name, getattr(mine, name))
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(header, name, getattr(mine, name))
    header.file_meta.MediaStorageSOPInstanceUID = mine.SOPInstanceUID
    header.save_as(folder / new.image, enforce_file_format=True)
    _copy_masks(night, other, new)


def _take_foreign(night: Night) -> None:
    new = night.arrivals[0]
    other = next(arrival for arrival in night.earlier if arrival.center != new.center)
    content = (night.folder(other) / other.image).read_bytes()
    (night.folder(new) / new.image).write_bytes(content)
    _copy_masks(night, other, new)


def _copy_masks(night: Night, source: Arrival, target: Arrival) -> None:
    for mask in target.masks(night.folder(target)):
        mask.unlink()
    first = source.masks(night.folder(source))[0]
    (night.folder(target) / "masks" / f"{target.mask_stem}_r1.nrrd").write_bytes(first.read_bytes())


def _box_masks(night: Night) -> None:
    for arrival, path in night.masks():
        scanner = arrival.center.scanner
        (rows, columns), (top, left) = scanner.region_px, scanner.origin_px
        down, right = round(rows * _BOX_MARGIN), round(columns * _BOX_MARGIN)
        mask = np.zeros(scanner.frame_px, dtype=bool)
        mask[top + down : top + rows - down, left + right : left + columns - right] = True
        write_mask_file(path, mask, scanner.spacing_mm)


def _repeat_mask(night: Night) -> None:
    (_, first), *others = night.masks()
    for _, path in others:
        path.write_bytes(first.read_bytes())


def _rewrite_column(night: Night, table: str, name: str, change: Callable[[str], str]) -> None:
    """Other words in one column of the arrivals' rows."""
    center = night.arrivals[0].center
    style = center.table
    path = night.folder(night.arrivals[0]) / table
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    column = header.split(style.separator).index(style.columns[name])
    new = {arrival.person.patient_id for arrival in night.arrivals}
    written = [header]
    for line in lines:
        cells = line.split(style.separator)
        if cells[0] in new:
            cells[column] = change(cells[column])
        written.append(style.separator.join(cells))
    write_text(path, "\n".join(written) + "\n")


def _write_in_cm(night: Night) -> None:
    style = night.arrivals[0].center.table

    def in_cm(cell: str) -> str:
        if cell == style.missing:
            return cell
        return f"{float(cell.replace(style.decimal, '.')) / 10:.2f}".replace(".", style.decimal)

    _rewrite_column(night, "clinical.csv", "tumor_size_mm", in_cm)


def _empty_column(night: Night) -> None:
    missing = night.arrivals[0].center.table.missing
    _rewrite_column(night, "clinical.csv", "tumor_shape", lambda _: missing)


def _say_one_word(night: Night) -> None:
    positive = night.arrivals[0].center.table.words["clnm"]["1"]
    _rewrite_column(night, "outcomes.csv", "clnm", lambda _: positive)


def _rewrite(night: Night, arrivals: Sequence[Arrival], change: Callable[[Dataset], None]) -> None:
    for arrival in arrivals:
        path = night.folder(arrival) / arrival.image
        header = _read(path)
        change(header)
        header.save_as(path, enforce_file_format=True)


def _read(path: Path) -> Dataset:
    from pydicom import dcmread

    return dcmread(path)


_SPOILERS: Mapping[Spoil, Callable[[Night], None]] = {
    Spoil.SPACING_TENFOLD: lambda night: _scale_spacing(night, 10.0),
    Spoil.SPACING_TENTH: lambda night: _scale_spacing(night, 0.1),
    Spoil.FUTURE: _put_ahead,
    Spoil.SATURATED: lambda night: _repaint(night, _turn_up),
    Spoil.BLANK: lambda night: _repaint(night, np.zeros_like),
    Spoil.TWIN: _twin,
    Spoil.FOREIGN: _take_foreign,
    Spoil.MASK_BOX: _box_masks,
    Spoil.MASK_REPEATED: _repeat_mask,
    Spoil.SIZE_IN_CM: _write_in_cm,
    Spoil.EMPTY_COLUMN: _empty_column,
    Spoil.OUTCOME_ONE_WORD: _say_one_word,
}
