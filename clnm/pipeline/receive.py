"""Receive: DICOM senders put instances into the archive of a center, where the next ingest finds them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clnm import log
from clnm.archive.receiver import Inbox, start_receiver
from clnm.errors import ConfigurationError
from clnm.pipeline.installation import Installation, open_installation


@contextmanager
def receiving(config: Path) -> Iterator[tuple[str, int]]:
    """Listen as `[receive]` says, until the block ends; gives the address and port.

    Raises:
        ConfigurationError: the settings name no center with a folder, or no sender; or the port cannot be listened at.
    """
    installation = open_installation(config)
    settings = installation.settings.receive
    if not settings.callers:
        raise ConfigurationError("[receive] callers is empty; name the AE titles that may send")
    logger = log.get(center=settings.center)
    try:
        server = start_receiver(
            Inbox(_folder(installation)),
            ae_title=settings.ae_title,
            callers=settings.callers,
            address=settings.address,
            port=settings.port,
            tell=lambda event, size: logger.info("received", outcome=event, size_bytes=size),
        )
    except OSError as error:
        raise ConfigurationError(
            f"[receive] cannot listen at {settings.address}:{settings.port}, or its center's folder cannot be "
            f"written: {error.strerror}"
        ) from None
    try:
        yield server.socket.getsockname()[:2]
    finally:
        server.shutdown()
        installation.store.close()


def _folder(installation: Installation) -> Path:
    """The first folder among the archive entries of the center that receives."""
    center = installation.settings.receive.center
    entries = installation.center_archive(center).archive
    for entry in entries:
        if isinstance(entry, Path) and entry.is_dir():
            return entry
    raise ConfigurationError(f"[receive] center {center!r} has no folder in its archive entries; add one, and make it")
