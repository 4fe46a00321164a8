"""Walks an archive entry: folders of any depth, zip and tar files read in place; follows no link, opens no device."""

from __future__ import annotations

import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clnm.entities import Reason
from clnm.imaging.refusal import RefusedError

MAX_BYTES = 1_000_000_000
"""Of one file or member; a larger one is not an ultrasound image."""
_MAX_RATIO = 200
"""Of a zip member: deflate reaches about 1000 on zeros, pictures stay far below this."""
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_SEPARATOR = b"!"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file or member as the walk saw it. `path` is bytes below the entry, and never leaves the private part."""

    path: bytes
    size_bytes: int
    mtime_ns: int
    inode: int
    refusal: Reason | None = None
    """Set where it cannot even be opened."""

    @property
    def name(self) -> str:
        """The file's own name, undecodable bytes kept as surrogates."""
        return os.fsdecode(self.path.rsplit(b"/", 1)[-1].rsplit(_SEPARATOR, 1)[-1])


def is_archive(path: Path) -> bool:
    """Whether an entry is a zip or tar file by its name."""
    return path.name.lower().endswith(_ARCHIVES)


def walk(entry: Path) -> Iterator[FoundFile]:
    """Everything under an entry, in the order of paths; members of zip and tar files one by one."""
    if entry.is_dir():
        yield from _walk_folder(os.fsencode(entry), b"")
    else:
        yield from _walk_members(os.fsencode(entry), b"", entry.stat())


def read(entry: Path, path: bytes) -> bytes:
    """The bytes of what `walk` found.

    Raises:
        RefusedError: it is too large, or cannot be read.
    """
    base = os.fsencode(entry)
    try:
        if entry.is_dir():
            outer, _, member = path.partition(_SEPARATOR) if _is_member(base, path) else (path, b"", b"")
            target = os.path.join(base, outer)
        else:
            target, member = base, path
        if member:
            return _read_member(target, int(member.split(b":", 1)[0]))
        if os.path.getsize(target) > MAX_BYTES:
            raise RefusedError(Reason.TOO_LARGE)
        with open(target, "rb") as file:
            return file.read()
    except PermissionError:
        raise RefusedError(Reason.PERMISSION) from None
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error):
        raise RefusedError(Reason.ARCHIVE_TRUNCATED) from None
    except OSError:
        raise RefusedError(Reason.IO_ERROR) from None


def _is_member(base: bytes, path: bytes) -> bool:
    return _SEPARATOR in path and not os.path.lexists(os.path.join(base, path))


def _walk_folder(base: bytes, below: bytes) -> Iterator[FoundFile]:
    try:
        with os.scandir(os.path.join(base, below)) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError:
        yield FoundFile(below, 0, 0, 0, Reason.PERMISSION)
        return
    for entry in entries:
        path = os.path.join(below, entry.name) if below else entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _walk_folder(base, path)
            continue
        info = entry.stat(follow_symlinks=False)
        if not stat.S_ISREG(info.st_mode):
            yield FoundFile(path, info.st_size, info.st_mtime_ns, info.st_ino, Reason.NOT_A_REGULAR_FILE)
        elif os.fsdecode(entry.name).lower().endswith(_ARCHIVES):
            yield from _walk_members(os.path.join(base, path), path + _SEPARATOR, info)
        else:
            yield FoundFile(path, info.st_size, info.st_mtime_ns, info.st_ino)


def _walk_members(target: bytes, prefix: bytes, info: os.stat_result) -> Iterator[FoundFile]:
    """Members keyed by their place, because names can repeat. A damaged archive is one refused file."""
    whole = FoundFile(
        prefix.rstrip(_SEPARATOR) or b".", info.st_size, info.st_mtime_ns, info.st_ino, Reason.ARCHIVE_TRUNCATED
    )
    try:
        members = list(_zip_members(target) if target.lower().endswith(b".zip") else _tar_members(target))
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, OSError, UnicodeDecodeError):
        yield whole
        return
    for place, name, size, refusal in members:
        path = prefix + str(place).encode() + b":" + name.encode("utf-8", "surrogateescape")
        yield FoundFile(path, size, info.st_mtime_ns, info.st_ino, refusal)


def _zip_members(target: bytes) -> Iterator[tuple[int, str, int, Reason | None]]:
    with zipfile.ZipFile(os.fsdecode(target)) as archive:
        for place, member in enumerate(archive.infolist()):
            if member.is_dir():
                continue
            kind = member.external_attr >> 16
            yield (
                place,
                member.filename,
                member.file_size,
                _unsafe(
                    member.filename,
                    is_regular=not stat.S_IFMT(kind) or stat.S_ISREG(kind),
                    is_bomb=member.file_size > MAX_BYTES
                    or member.file_size > _MAX_RATIO * max(1, member.compress_size),
                    is_encrypted=bool(member.flag_bits & 1),
                ),
            )


def _tar_members(target: bytes) -> Iterator[tuple[int, str, int, Reason | None]]:
    with tarfile.open(os.fsdecode(target)) as archive:
        for place, member in enumerate(archive):
            if member.isdir():
                continue
            yield (
                place,
                member.name,
                member.size,
                _unsafe(member.name, is_regular=member.isreg(), is_bomb=member.size > MAX_BYTES, is_encrypted=False),
            )
        _demand_whole(archive)


def _demand_whole(archive: tarfile.TarFile) -> None:
    """A tar file cut at a member's end raises nothing: its end is two blocks of zeros, or it is not whole."""
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE).strip(b"\x00") or archive.fileobj.tell() == archive.offset:
        raise tarfile.ReadError("no end of archive")


def _unsafe(name: str, *, is_regular: bool, is_bomb: bool, is_encrypted: bool) -> Reason | None:
    if not is_regular or name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
        return Reason.UNSAFE_MEMBER
    if is_bomb:
        return Reason.TOO_LARGE
    return Reason.ARCHIVE_ENCRYPTED if is_encrypted else None


def _read_member(target: bytes, place: int) -> bytes:
    if target.lower().endswith(b".zip"):
        with zipfile.ZipFile(os.fsdecode(target)) as archive:
            return archive.read(archive.infolist()[place])
    with tarfile.open(os.fsdecode(target)) as archive:
        for number, member in enumerate(archive):
            if number == place:
                content = archive.extractfile(member)
                assert content is not None
                return content.read()
    raise RefusedError(Reason.ARCHIVE_TRUNCATED)
