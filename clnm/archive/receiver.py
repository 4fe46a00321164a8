"""A C-STORE receiver (DICOM PS3.4 annex B): what a sender is told is stored lies on the disk, synced, under its name.

It looks into a file no further than it must to name it; what is wrong with it is for intake to say.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import secrets
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

from clnm.archive.walk import SCRATCH_FOLDER
from clnm.entities import Reason
from clnm.imaging.dicom import check_pixels, parse_dicom
from clnm.imaging.refusal import UNTRUSTED, RefusedError

_UID = re.compile(r"[0-9][0-9.]{0,63}")
_IMPLEMENTATION_UID, _IMPLEMENTATION = "2.25.113059749145936325402354257176981405696", "CLNM"
"""Ours, and not a library's with its version: the same instance sent twice is the same bytes."""
_NOT_WHOLE = frozenset(
    {Reason.EMPTY, Reason.NOT_DICOM, Reason.NO_META, Reason.TRUNCATED_HEADER, Reason.TRUNCATED_PIXELS, Reason.MALFORMED}
)
"""What the sender is to hear of: any other refusal is of a whole file, which is kept, and intake says what it is."""
_MAX_ASSOCIATIONS = 16

Tell = Callable[[str, int], None]
"""Told of every instance: what became of it, and its size in bytes."""


class Status(IntEnum):
    """What a sender is answered (PS3.4 table B.2-1)."""

    STORED = 0x0000
    OUT_OF_RESOURCES = 0xA700
    """It could not be written: the disk is full or away."""
    OTHER_INSTANCE = 0xA900
    """The data set is not the instance that was announced."""
    NOT_UNDERSTOOD = 0xC000


@dataclass(frozen=True, slots=True, repr=False)
class Inbox:
    """The folder where instances land, as `study/instance.dcm`; a second file of one UID is kept beside the first."""

    folder: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def prepare(self) -> None:
        """Make the folder for what is being written, and empty it of what a killed receiver left."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(mode=0o700)

    def keep(self, content: bytes, announced_uid: str) -> Status:
        """Write a file so that it is there whole or not at all; it is there when this returns `STORED`."""
        try:
            file = parse_dicom(content)
            if file.pixels_at is not None:
                check_pixels(file)
            if file.dataset_is_cut:
                return Status.NOT_UNDERSTOOD
            uid, study = str(file.dataset.get("SOPInstanceUID", "")), str(file.dataset.get("StudyInstanceUID", ""))
        except RefusedError as refusal:
            if refusal.reason in _NOT_WHOLE:
                return Status.NOT_UNDERSTOOD
            uid, study = announced_uid, ""
        except UNTRUSTED:
            return Status.NOT_UNDERSTOOD
        if not uid or uid != announced_uid:
            return Status.OTHER_INSTANCE
        try:
            self._write(content, _name(study, "unknown-study"), _name(uid, hashlib.sha256(content).hexdigest()))
        except OSError:
            return Status.OUT_OF_RESOURCES
        return Status.STORED

    @property
    def _scratch(self) -> Path:
        return self.folder / os.fsdecode(SCRATCH_FOLDER)

    def _write(self, content: bytes, study: str, name: str) -> None:
        scratch = self._scratch / secrets.token_hex(16)
        try:
            with scratch.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            with self._lock:
                self._name_it(scratch, content, self.folder / study, name)
        finally:
            scratch.unlink(missing_ok=True)

    def _name_it(self, scratch: Path, content: bytes, folder: Path, name: str) -> None:
        folder.mkdir(exist_ok=True)
        target = folder / f"{name}.dcm"
        if target.exists() and target.read_bytes() != content:
            target = folder / f"{name}~{hashlib.sha256(content).hexdigest()[:12]}.dcm"
        if not target.exists():
            scratch.rename(target)
        for changed in (folder, self.folder):
            _sync_folder(changed)


def start_receiver(
    inbox: Inbox, *, ae_title: str, callers: tuple[str, ...], address: str, port: int, tell: Tell
) -> Any:
    """Listen for senders in threads of their own; `shutdown()` of what is returned ends it.

    Args:
        inbox: where files land.
        ae_title: our title; an association that calls another is refused.
        callers: the titles that may send; any other is refused.
        address: the address to listen at.
        port: the port; 0 for a free one.
        tell: told of every instance.

    Raises:
        OSError: the folder cannot be written, or the port is taken.
    """
    from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
    from pynetdicom.sop_class import Verification

    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # it tells what it read
    inbox.prepare()
    entity = AE(ae_title=ae_title)
    entity.require_called_aet = True
    entity.require_calling_aet = list(callers)
    entity.maximum_associations = _MAX_ASSOCIATIONS
    entity.maximum_pdu_size = 0
    entity.add_supported_context(Verification)
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)

    def store(event: Any) -> int:
        content = _file_of(event)
        status = inbox.keep(content, str(event.request.AffectedSOPInstanceUID))
        tell(status.name.lower(), len(content))
        return status

    return entity.start_server((address, port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])


def _file_of(event: Any) -> bytes:
    """The data set as it was sent, behind a file's head."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.filewriter import write_file_meta_info

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = event.request.AffectedSOPClassUID
    meta.MediaStorageSOPInstanceUID = event.request.AffectedSOPInstanceUID
    meta.TransferSyntaxUID = event.context.transfer_syntax
    meta.ImplementationClassUID, meta.ImplementationVersionName = _IMPLEMENTATION_UID, _IMPLEMENTATION
    head = io.BytesIO()
    write_file_meta_info(head, meta)
    return b"\x00" * 128 + b"DICM" + head.getvalue() + event.request.DataSet.getvalue()


def _name(uid: str, other: str) -> str:
    return uid if _UID.fullmatch(uid) else other


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
