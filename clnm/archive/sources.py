"""Where a center's files lie: a folder or an archive file on the disk, or a DICOMweb server. All are walked alike."""

from __future__ import annotations

import os
from pathlib import Path

from clnm.archive import walk as disk
from clnm.archive.dicomweb import WebArchive
from clnm.archive.walk import FoundFile, parts_of

Root = Path | WebArchive


def walk(root: Root) -> list[FoundFile]:
    """Everything under an entry, in the order of paths of each folder.

    Raises:
        AwayError: it is a server that does not answer.
    """
    return root.walk() if isinstance(root, WebArchive) else list(disk.walk(root))


def read(root: Root, path: bytes) -> bytes:
    """The bytes of what `walk` found.

    Raises:
        RefusedError: it is too large, or cannot be read.
    """
    return root.read(path) if isinstance(root, WebArchive) else disk.read(root, path)


def is_to_fetch(root: Root, path: bytes) -> bool:
    """Whether reading it means asking a server."""
    return isinstance(root, WebArchive) and not root.is_away and path not in root.refusals


def real_place(root: Root) -> str:
    """What places below the entry start with."""
    return root.url if isinstance(root, WebArchive) else os.path.realpath(root)


def place_of(place: str, path: bytes) -> str:
    """A file's absolute path as text, below the real place of its root; a member's as if its archive were a folder."""
    return "/".join(part for part in (place, *(os.fsdecode(part) for part in parts_of(path))) if part != ".")


def listed_folders(root: Root) -> frozenset[bytes] | None:
    """Of an entry of which only a part was walked: the folders (studies) it looked into; None: all of it was."""
    return root.studies if isinstance(root, WebArchive) and root.since is not None else None
