"""The one pointer of the store: what `manifest.json` does not name does not exist.

A commit writes its files first and replaces the manifest last, so a reader sees all of it or nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from clnm.errors import StoreError

NAME = "manifest.json"
_FORMAT = 1
_UNREADABLE = "the store's manifest.json cannot be read; restore it from a backup"


@dataclass(frozen=True, slots=True)
class Published:
    """A published table: its Delta version, and its Parquet files grouped by schema (paths relative to the root)."""

    version: int
    folder: str
    """Relative to the root. A table that was written anew (a patient was forgotten) lives in a new folder."""
    files: Mapping[str, tuple[str, ...]]
    """Schema hash to files: one `read_parquet` for each."""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """File to SHA-256: what `verify` holds it against."""

    def all_files(self) -> list[str]:
        """The table's files, relative to the root."""
        return [path for group in self.files.values() for path in group]


@dataclass(frozen=True, slots=True)
class Manifest:
    """One state of the store."""

    seq: int = 0
    run_id: str = ""
    committed_at: str = ""
    tables: Mapping[str, Published] = field(default_factory=dict)
    staged: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    """Center to relation to files that wait for the gate."""
    kept: Mapping[str, str] = field(default_factory=dict)
    """Name to path of what belongs to this state but is no table: ledgers, encoders."""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """File to SHA-256, of what is staged or kept."""

    def staged_files(self, relation: str, center: str | None = None) -> list[str]:
        """The staged files of a relation, of one center or of all."""
        return [
            path
            for place, relations in sorted(self.staged.items())
            if center in (None, place)
            for path in relations.get(relation, ())
        ]

    def last_staged(self, center: str) -> int:
        """The commit that staged the newest rows of a center; 0 where none are staged."""
        files = [path for paths in self.staged.get(center, {}).values() for path in paths]
        return max((int(Path(path).name.partition("-")[0]) for path in files), default=0)

    def named_files(self) -> set[str]:
        """Every file outside the Delta tables that this state needs."""
        staged = {path for relations in self.staged.values() for paths in relations.values() for path in paths}
        return staged | set(self.kept.values())

    def all_files(self) -> set[str]:
        """Every file that this state needs."""
        return self.named_files() | {path for entry in self.tables.values() for path in entry.all_files()}

    def to_json(self) -> bytes:
        """The content of `manifest.json`."""
        content: dict[str, Any] = {
            "format": _FORMAT,
            "seq": self.seq,
            "run_id": self.run_id,
            "committed_at": self.committed_at,
            "tables": {
                name: {
                    "version": entry.version,
                    "folder": entry.folder,
                    "files": {key: list(paths) for key, paths in entry.files.items()},
                    "checksums": dict(sorted(entry.checksums.items())),
                }
                for name, entry in sorted(self.tables.items())
            },
            "staged": {
                center: {name: list(paths) for name, paths in relations.items()}
                for center, relations in sorted(self.staged.items())
            },
            "kept": dict(sorted(self.kept.items())),
            "checksums": dict(sorted(self.checksums.items())),
        }
        return json.dumps(content, indent=1).encode()


def read_manifest(root: Path) -> Manifest:
    """The store's current state; the empty one where there is no store yet.

    Raises:
        StoreError: the manifest cannot be read or is of another format.
    """
    try:
        content = (root / NAME).read_bytes()
    except FileNotFoundError:
        return Manifest()
    except OSError:
        raise StoreError(_UNREADABLE) from None
    return parse_manifest(content)


def parse_manifest(text: bytes) -> Manifest:
    """A state from the content of its `manifest.json`.

    Raises:
        StoreError: it cannot be read or is of another format.
    """
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise StoreError(_UNREADABLE)
    if content.get("format") != _FORMAT:
        raise StoreError(f"the store is of format {content.get('format')}, this clnm reads {_FORMAT}; use a newer clnm")
    try:
        return _from_json(content)
    except (KeyError, TypeError, AttributeError):
        raise StoreError(_UNREADABLE) from None


def _from_json(content: Mapping[str, Any]) -> Manifest:
    return Manifest(
        seq=content["seq"],
        run_id=content["run_id"],
        committed_at=content["committed_at"],
        tables={
            name: Published(
                entry["version"],
                entry.get("folder", f"tables/{name}"),
                {key: tuple(paths) for key, paths in entry["files"].items()},
                entry.get("checksums", {}),
            )
            for name, entry in content["tables"].items()
        },
        staged={
            center: {name: tuple(paths) for name, paths in relations.items()}
            for center, relations in content["staged"].items()
        },
        kept=content["kept"],
        checksums=content.get("checksums", {}),
    )


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Replace the manifest in one rename."""
    replace_file(root / NAME, manifest.to_json())


def replace_file(path: Path, content: bytes) -> None:
    """Write to a scratch name beside `path`, sync, rename, sync the folder: all of it or nothing.

    Raises:
        StoreError: the disk is full or cannot be written.
    """
    scratch = path.with_name(path.name + ".scratch")
    try:
        with scratch.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise StoreError(f"the store cannot be written ({error.strerror}); the last state is intact") from None


def checksum(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums_of(root: Path, before: Manifest, after: Manifest, changed: Collection[str] = ()) -> dict[str, str]:
    """Of every staged or kept file of a state; of those that were there before and not `changed`, as they were."""
    known = {path: digest for path, digest in before.checksums.items() if path not in changed}
    return {
        path: known[path] if path in known else checksum(root / path)
        for path in sorted(after.named_files())
        if path in known or (root / path).is_file()
    }


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    sync_file(folder)


def sync_file(path: Path) -> None:
    """Make the content of `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def next_state(manifest: Manifest, *, run_id: str, committed_at: str, **changes: Any) -> Manifest:
    """The state after `manifest`."""
    return replace(manifest, seq=manifest.seq + 1, run_id=run_id, committed_at=committed_at, **changes)
