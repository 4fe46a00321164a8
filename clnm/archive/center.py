"""One center's archive as the settings describe it, and its sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clnm.archive.dicomweb import AwayError, WebArchive
from clnm.archive.sources import Root, listed_folders, walk
from clnm.archive.tables import TableFormat, Vocabulary
from clnm.archive.walk import FoundFile
from clnm.entities import Role
from clnm.errors import NothingToDoError


@dataclass(frozen=True, slots=True)
class CenterArchive:
    """What the settings say of one center; every path absolute."""

    name: str
    role: Role
    archive: tuple[Root, ...]
    masks: tuple[Path, ...] = ()
    index: Path | None = None
    clinical: Path | None = None
    outcomes: Path | None = None
    columns: Mapping[str, str] | None = None
    values: Mapping[str, Mapping[str, Any]] | None = None
    table: TableFormat = field(default_factory=TableFormat)
    first_name: str = ""
    """Of a renamed center: the name that its entries go on by."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The center's words."""
        return Vocabulary(self.columns or {}, self.values or {}, self.table)

    @property
    def _entry(self) -> str:
        return self.first_name or self.name

    @property
    def tables(self) -> dict[str, Path]:
        """The configured tables, by key."""
        named = {"index": self.index, "clinical": self.clinical, "outcomes": self.outcomes}
        return {key: path for key, path in named.items() if path is not None}

    @property
    def servers(self) -> dict[str, WebArchive]:
        """The DICOMweb servers among the entries, by the name they go by in the store."""
        named = {f"{self._entry}/{number}": root for number, root in enumerate(self.archive)}
        return {source: root for source, root in named.items() if isinstance(root, WebArchive)}

    def roots(self) -> dict[str, Root]:
        """The entries to walk, by the name they go by in the store (`C1/0`); masks beside the images are walked once.

        Raises:
            NothingToDoError: one is not there.
        """
        roots: dict[str, Root] = {f"{self._entry}/{number}": path for number, path in enumerate(self.archive)}
        walked = [path.resolve() for path in self.archive if isinstance(path, Path)]
        for number, path in enumerate(self.masks):
            if not any(path.resolve().is_relative_to(other) for other in walked):
                roots[f"{self._entry}/masks/{number}"] = path
        for source, root in roots.items():
            if isinstance(root, Path) and not root.exists():
                raise NothingToDoError(f"center {self.name}: archive entry {source} is not there; {_cure(source)}")
        return roots

    def walk_source(self, source: str, root: Root) -> list[FoundFile]:
        """Every file of one entry.

        Raises:
            NothingToDoError: it is empty, or a server that is away.
        """
        try:
            found = walk(root)
        except AwayError as error:
            raise self.away(source, str(error)) from None
        if not found and listed_folders(root) is None:
            raise NothingToDoError(f"center {self.name}: archive entry {source} is empty; {_cure(source)}")
        return found

    def away(self, source: str, why: str = "it stopped answering") -> NothingToDoError:
        """What is to be said of a server that is away."""
        return NothingToDoError(
            f"center {self.name}: the DICOMweb server of {source} cannot be used: {why}; see that it runs and that "
            f"its login is in the environment ({login_variable('TOKEN', self.name)}); what is missing is fetched "
            "by the next run"
        )


def login_variable(kind: str, center: str) -> str:
    """The environment variable of a center's login at its DICOMweb server; `kind` is TOKEN, USER or PASSWORD."""
    return f"CLNM_DICOMWEB_{kind}_{center.upper().replace('-', '_')}"


def _cure(source: str) -> str:
    key = "masks" if "/masks/" in source else "archive"
    return f"mount it, or mend {key} of its [[center]] in clnm.toml"
