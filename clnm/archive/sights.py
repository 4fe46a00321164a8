"""What is handed to a look at a file, and what it gives back: plain values, which print nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from clnm.archive.entry import Entry
from clnm.archive.index import IndexRow
from clnm.archive.pseudonyms import Pseudonyms
from clnm.archive.sources import Root
from clnm.entities import SpacingSource
from clnm.imaging.masks import LabelImage


@dataclass(frozen=True, slots=True, repr=False)
class Task:
    """One file to look at. `place` is its absolute path as text; it prints nothing."""

    root: Root
    place: str
    entry: Entry
    content: bytes | None = None
    """Its bytes, where they were read already."""


@dataclass(frozen=True, slots=True, repr=False)
class Look:
    """What a look needs besides the file."""

    center: str
    pseudonyms: Pseudonyms
    index: Mapping[str, IndexRow]
    """Rows of the index table by the image's place."""
    frames: Mapping[str, int]
    """Frame named by a mask, by image stem."""
    masks: Mapping[str, Sequence[tuple[Root, bytes]]]
    """Where the masks of an image lie, by image stem: they choose among several ultrasound regions."""
    max_still_copying_ns: int
    now_ns: int
    room: Path
    """Where decoded pixels wait."""

    def of(self, task: Task) -> Look:
        """The same with what concerns one file alone."""
        stem = task.entry.stem
        return replace(
            self,
            index={task.place: self.index[task.place]} if task.place in self.index else {},
            frames={stem: self.frames[stem]} if stem in self.frames else {},
            masks={stem: self.masks[stem]} if stem in self.masks else {},
        )


@dataclass(frozen=True, slots=True, repr=False)
class Sight:
    """What was seen: the file's next ledger entry, and the facts of an image or the labels of a mask."""

    entry: Entry
    manufacturer: str = ""
    model: str = ""
    transfer_syntax: str = ""
    decoder: str = ""
    spacing_source: SpacingSource = SpacingSource.NONE
    patient_id: str = ""
    """The hospital's own: it goes into the sealed link, and nowhere else."""
    pixels: np.ndarray | None = None
    """The luminance of the ultrasound region: the burned-in strip around it never leaves the look."""
    labels: LabelImage | None = None
    drawn_on: str = ""
    """The image_key of what a segmentation says it was drawn on."""
    author: str = ""
    """A segmentation's reader, as a keyed hash."""
