"""The link from a patient_key back to the hospital's own id, sealed: only the holder of the link key can read it.

Intake has the public half alone: whoever takes everything from its machine has no link. HPKE (RFC 9180), one message
per patient, so that one can be forgotten without the key.
"""

from __future__ import annotations

from typing import Any

from clnm.errors import ConfigurationError

KEY_BYTES = 32


def make_link_keys() -> tuple[bytes, bytes]:
    """A new pair: the link key itself, and its public half."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    key = X25519PrivateKey.generate()
    return key.private_bytes_raw(), key.public_key().public_bytes_raw()


def seal(public_half: bytes, patient_key: str, raw_id: str) -> bytes:
    """The hospital's id of a patient, for the holder of the link key alone."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    public_key = X25519PublicKey.from_public_bytes(public_half)
    return _suite().encrypt(raw_id.encode("utf-8", "surrogateescape"), public_key, patient_key.encode())


def unseal(link_key: bytes, patient_key: str, sealed: bytes) -> str:
    """The hospital's id of a patient.

    Raises:
        ConfigurationError: the key is another.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    try:
        told = _suite().decrypt(sealed, X25519PrivateKey.from_private_bytes(link_key), patient_key.encode())
    except (InvalidTag, ValueError):
        raise ConfigurationError("the link key is not the one that this patient was sealed for") from None
    return told.decode("utf-8", "surrogateescape")


def _suite() -> Any:
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
