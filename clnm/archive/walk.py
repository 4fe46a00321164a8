"""Walks an archive entry: folders of any depth, zip and tar files read in place; follows no link, opens no device."""

from __future__ import annotations

import os
import re
import stat
import tarfile
import threading
import unicodedata
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from clnm.entities import Reason
from clnm.imaging.refusal import UNTRUSTED, RefusedError

_INODE_BITS = (1 << 63) - 1
"""Some file systems use 64 bits; Arrow counts with 63."""
MAX_BYTES = 1_000_000_000
"""Of one file or member; a larger one is not an ultrasound image."""
_MAX_RATIO = 200
"""Of a large zip member: deflate reaches about 1000 on zeros, pictures stay far below this."""
_SUSPECT_BYTES = 100_000_000
"""A member below this may be of any ratio: an uncompressed mask is nearly all zeros."""
SCRATCH_FOLDER = b".clnm-receiving"
"""At the top of an archive folder: what our own receiver has not finished writing is not in the archive yet."""
_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
_SEPARATOR = b"!"
_MEMBER = re.compile(rb"^(?:(.*?\.(?:zip|tar|tar\.gz|tgz))!)?(\d{7}):", re.IGNORECASE | re.DOTALL)
_LOCK = threading.Lock()
"""Members of a tar file are read one at a time: it has one position."""

_HIDING = frozenset({Reason.PERMISSION, Reason.ARCHIVE_TRUNCATED, Reason.IO_ERROR, Reason.NOT_DELIVERED})
Member = tuple[int, str, int, Reason | None]


class FoundFile(NamedTuple):
    """A file or member as the walk saw it (a tuple, because there may be a million of them)."""

    path: bytes
    """Below the entry; it never leaves the private part."""
    size_bytes: int
    mtime_ns: int
    inode: int
    refusal: Reason | None = None
    """Set where it cannot even be opened."""
    detail: str = ""

    @property
    def hides(self) -> tuple[bytes, ...]:
        """The starts of all paths that cannot be seen because this folder or archive cannot be read."""
        if self.refusal in _HIDING:
            return (b"",) if self.path == b"." else (self.path + b"/", self.path + _SEPARATOR)
        return ()


def is_archive(name: str) -> bool:
    """Whether a file is a zip or tar file by its name."""
    return name.lower().endswith(_ENDINGS)


def parts_of(path: bytes) -> list[bytes]:
    """The path of a file; of a member the path of its archive (where it has one) and its own."""
    member = _MEMBER.match(path)
    if member is None:
        return [path]
    return [part for part in (member.group(1), path[member.end() :]) if part]


def name_of(path: bytes) -> str:
    """The own name of a file or member, undecodable bytes kept as surrogates."""
    return os.fsdecode(parts_of(path)[-1].rsplit(b"/", 1)[-1]) if path else ""


def printable(name: str) -> str:
    """A name as text that any table can hold: bytes that are no UTF-8 become escapes, accents one spelling."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "backslashreplace"))


def walk(entry: Path) -> Iterator[FoundFile]:
    """Everything under an entry, folder by folder in the order of names; members of zip and tar files one by one."""
    base = os.fsencode(entry)
    if not os.path.isdir(base):
        yield from _walk_members(base, b"", os.stat(base))
        return
    folders = [b""]
    while folders:
        yield from _walk_folder(base, folders.pop(), folders)


def read(entry: Path, path: bytes) -> bytes:
    """The bytes of what `walk` found.

    Raises:
        RefusedError: it is too large, or cannot be read.
    """
    base = os.fsencode(entry)
    try:
        member = _MEMBER.match(path)
        is_folder = os.path.isdir(base)
        target = os.path.join(base, path) if is_folder else base
        if member is None or (is_folder and (not member.group(1) or os.path.lexists(target))):
            return _read_file(target)
        if member.group(1):
            target = os.path.join(base, member.group(1))
        return _read_member(target, int(member.group(2)))
    except RefusedError:
        raise
    except UNTRUSTED as error:
        raise RefusedError(_reason_of(error)) from None


def _walk_folder(base: bytes, below: bytes, folders: list[bytes]) -> Iterator[FoundFile]:
    """The files of one folder; the folders in it are added to `folders`, so that no depth is too deep."""
    try:
        with os.scandir(os.path.join(base, below)) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        yield FoundFile(below or b".", 0, 0, 0, _reason_of(error))
        return
    for entry in entries:
        if not below and entry.name == SCRATCH_FOLDER:
            continue
        path = below + b"/" + entry.name if below else entry.name
        try:
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
                continue
            look = entry.stat(follow_symlinks=False)
        except OSError:
            yield FoundFile(path, 0, 0, 0, Reason.IO_ERROR)
            continue
        if not stat.S_ISREG(look.st_mode):
            yield FoundFile(path, look.st_size, look.st_mtime_ns, look.st_ino & _INODE_BITS, Reason.NOT_A_REGULAR_FILE)
        elif entry.name.lower().endswith(tuple(ending.encode() for ending in _ENDINGS)):
            yield from _walk_members(os.path.join(base, path), path + _SEPARATOR, look)
        else:
            yield FoundFile(path, look.st_size, look.st_mtime_ns, look.st_ino & _INODE_BITS)


def _walk_members(target: bytes, prefix: bytes, look: os.stat_result) -> Iterator[FoundFile]:
    """Members keyed by their place, because names can repeat. A damaged archive is one refused file."""
    try:
        members = _members(target, look.st_size, look.st_mtime_ns, look.st_ino & _INODE_BITS)
    except UNTRUSTED as error:
        path = prefix.rstrip(_SEPARATOR) or b"."
        yield FoundFile(path, look.st_size, look.st_mtime_ns, look.st_ino & _INODE_BITS, _reason_of(error))
        return
    for place, name, size, unsafe in members:
        path = prefix + b"%07d:" % place + name.encode("utf-8", "surrogateescape")
        yield FoundFile(path, size, look.st_mtime_ns, look.st_ino & _INODE_BITS, unsafe)


def _reason_of(error: Exception) -> Reason:
    """A damaged gzip stream raises an OSError too, but one without a number of the system's."""
    if isinstance(error, PermissionError):
        return Reason.PERMISSION
    is_of_the_system = isinstance(error, OSError) and error.errno is not None
    return Reason.IO_ERROR if is_of_the_system else Reason.ARCHIVE_TRUNCATED


@lru_cache(maxsize=64)
def _members(target: bytes, size: int, mtime_ns: int, inode: int) -> tuple[Member, ...]:
    """The members of an archive that looks like this: listed once while it does."""
    del size, mtime_ns, inode
    return tuple(_zip_members(target) if target.lower().endswith(b".zip") else _tar_members(target))


def _zip_members(target: bytes) -> Iterator[Member]:
    with zipfile.ZipFile(os.fsdecode(target)) as archive:
        for place, member in enumerate(archive.infolist()):
            if member.is_dir():
                continue
            kind = stat.S_IFMT(member.external_attr >> 16)
            ratio = member.file_size / max(1, member.compress_size)
            is_bomb = member.file_size > MAX_BYTES or (member.file_size > _SUSPECT_BYTES and ratio > _MAX_RATIO)
            reason = _unsafe(member.filename, is_regular=kind in {0, stat.S_IFREG}, is_bomb=is_bomb)
            is_encrypted = bool(member.flag_bits & 1)
            yield (
                place,
                member.filename,
                member.file_size,
                reason or (Reason.ARCHIVE_ENCRYPTED if is_encrypted else None),
            )


def _tar_members(target: bytes) -> Iterator[Member]:
    with tarfile.open(os.fsdecode(target)) as archive:
        for place, member in enumerate(archive):
            if not member.isdir():
                reason = _unsafe(member.name, is_regular=member.isreg(), is_bomb=member.size > MAX_BYTES)
                yield place, member.name, member.size, reason
        _demand_whole(archive)


def _demand_whole(archive: tarfile.TarFile) -> None:
    """A tar file cut at a member's end raises nothing: its end is blocks of zeros, or it is not whole."""
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    block = archive.fileobj.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE or block.strip(b"\x00"):
        raise tarfile.ReadError("no end of archive")


def _unsafe(name: str, *, is_regular: bool, is_bomb: bool) -> Reason | None:
    if not is_regular or name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
        return Reason.UNSAFE_MEMBER
    return Reason.TOO_LARGE if is_bomb else None


def _read_file(target: bytes) -> bytes:
    """Never through a link that took the file's place, and never waiting at a pipe."""
    descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        look = os.fstat(descriptor)
        if not stat.S_ISREG(look.st_mode):
            raise RefusedError(Reason.NOT_A_REGULAR_FILE)
        if look.st_size > MAX_BYTES:
            raise RefusedError(Reason.TOO_LARGE)
        return file.read()


def _read_member(target: bytes, place: int) -> bytes:
    look = os.stat(target)
    seen = (target, look.st_size, look.st_mtime_ns, look.st_ino & _INODE_BITS)
    if target.lower().endswith(b".zip"):
        packed = _open_zip(*seen)
        with packed.open(packed.infolist()[place]) as member:
            return member.read()
    with _LOCK:
        archive, members = _open_tar(*seen)
        content = archive.extractfile(members[place])
        assert content is not None
        return content.read()


@lru_cache(maxsize=4)
def _open_zip(target: bytes, size: int, mtime_ns: int, inode: int) -> zipfile.ZipFile:
    del size, mtime_ns, inode
    return zipfile.ZipFile(os.fsdecode(target))


@lru_cache(maxsize=4)
def _open_tar(target: bytes, size: int, mtime_ns: int, inode: int) -> tuple[tarfile.TarFile, list[tarfile.TarInfo]]:
    """Kept open, so that the members of a compressed one are read in one pass where they are asked for in order."""
    del size, mtime_ns, inode
    archive = tarfile.open(os.fsdecode(target))  # noqa: SIM115 - the cache closes it when it lets it go
    return archive, archive.getmembers()
