"""One center's archive as the settings describe it, and its sources on the disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clnm.archive.tables import TableFormat, Vocabulary
from clnm.archive.walk import FoundFile, parts_of, walk
from clnm.entities import Role
from clnm.errors import NothingToDoError


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

    def roots(self) -> dict[str, Path]:
        """The entries to walk, by the name they go by in the store (`C1/0`); masks beside the images are walked once.

        Raises:
            NothingToDoError: one is not there.
        """
        roots = {f"{self.name}/{number}": path for number, path in enumerate(self.archive)}
        walked = [path.resolve() for path in self.archive]
        for number, path in enumerate(self.masks):
            if not any(path.resolve().is_relative_to(other) for other in walked):
                roots[f"{self.name}/masks/{number}"] = path
        for source, path in roots.items():
            if not path.exists():
                raise NothingToDoError(f"center {self.name}: archive entry {source} is not there; {_cure(source)}")
        return roots

    def walk_source(self, source: str, root: Path) -> list[FoundFile]:
        """Every file of one entry.

        Raises:
            NothingToDoError: it is empty.
        """
        found = list(walk(root))
        if not found:
            raise NothingToDoError(f"center {self.name}: archive entry {source} is empty; {_cure(source)}")
        return found


def place_of(root: str, path: bytes) -> str:
    """A file's absolute path as text, below the real path of its root; a member's as if its archive were a folder."""
    return "/".join(part for part in (root, *(os.fsdecode(part) for part in parts_of(path))) if part != ".")


def _cure(source: str) -> str:
    key = "masks" if "/masks/" in source else "archive"
    return f"mount it, or mend {key} of its [[center]] in clnm.toml"
