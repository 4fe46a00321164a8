"""Who a patient is and where their files lie, for the operator; the link key may be another person's."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from clnm.archive.ledger import Ledger
from clnm.archive.links import KEY_BYTES, make_link_keys, unseal
from clnm.errors import ConfigurationError, UserError
from clnm.pipeline.installation import Installation, open_installation


def link(config: Path, patient_key: str, *, key_file: Path | None = None) -> dict[str, Any]:
    """The hospital's id of a patient (null without the link key), and the files at the source.

    Raises:
        UserError: no such patient.
        ConfigurationError: the link key cannot be read, or is another.
    """
    installation = open_installation(config)
    images = installation.store.run_query("images_of_patient", patient_key=patient_key)
    ledgers = {center: _ledger(installation, center) for center in installation.centers}
    sealed = next((ledger.links[patient_key] for ledger in ledgers.values() if patient_key in ledger.links), None)
    if not images and sealed is None:
        raise UserError(f"no patient {patient_key!r} in the store")
    key = _read_key(key_file or installation.link_key_file, is_demanded=key_file is not None)
    return {
        "patient": None if key is None or sealed is None else unseal(key, patient_key, sealed),
        "is_sealed": sealed is not None,
        "files": [{**row, "path": _ledger_of(ledgers, row).path_of(row["image_key"])} for row in images],
    }


def make_link_key_files(key_file: Path, public_file: Path) -> bool:
    """Make the link key (mode 0600) and its public half where there are none; says whether it did."""
    if public_file.exists() or key_file.exists():
        return False
    key_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path, content in zip((key_file, public_file), make_link_keys(), strict=True):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(content.hex() + "\n")
    return True


def read_public_half(public_file: Path) -> bytes | None:
    """The public half of the link key; None where there is none: then no link is kept.

    Raises:
        ConfigurationError: it is no key.
    """
    return _bytes_of(public_file, "[pseudonyms] link_file") if public_file.is_file() else None


def _read_key(path: Path, *, is_demanded: bool) -> bytes | None:
    if not path.is_file():
        if is_demanded:
            raise ConfigurationError("the file that --key-file names is not there")
        return None
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigurationError("others may read the link key; chmod 600 its file")
    return _bytes_of(path, "the file of the link key")


def _bytes_of(path: Path, what: str) -> bytes:
    try:
        content = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (ValueError, OSError):
        content = b""
    if len(content) != KEY_BYTES:
        raise ConfigurationError(f"{what} holds no key of {KEY_BYTES} bytes in hexadecimal digits")
    return content


def _ledger(installation: Installation, center: str) -> Ledger:
    kept = installation.store.kept(f"ledger/{center}")
    return Ledger.empty() if kept is None else Ledger.read(installation.root / kept)


def _ledger_of(ledgers: dict[str, Ledger], row: dict[str, Any]) -> Ledger:
    return ledgers.get(row["center"], Ledger.empty())
