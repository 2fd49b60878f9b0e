"""Sealing secrets at rest: AES-256-GCM under a rotatable keyring, bound to the row that owns them."""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = "v1"
NONCE_BYTES = 12
UNOPENED = "the sealed text cannot be opened with this keyring"


class Keyring(Protocol):
    """Keys by their ids, of which the current one seals."""

    @property
    def current(self) -> str:
        """Its id."""

    @property
    def keyring(self) -> Mapping[str, bytes]:
        """All of them."""


class UnsealError(Exception):
    """The text was not sealed by this keyring for this owner."""


def seal(secret: str, owner: str, held: Keyring) -> str:
    """`v1.<key id>.<base64 of nonce and ciphertext>`; only `owner` can unseal it."""
    kid = held.current
    return f"{VERSION}.{kid}.{b64encode(_closed(secret.encode(), owner, held.keyring[kid])).decode()}"


def seal_bytes(content: bytes, owner: str, held: Keyring) -> bytes:
    """The same for content of any size: `v1.<key id>.`, then nonce and ciphertext as they are."""
    kid = held.current
    return f"{VERSION}.{kid}.".encode() + _closed(content, owner, held.keyring[kid])


def unseal(text: str, owner: str, held: Keyring) -> str:
    """The secret; UnsealError when the key is gone, the text was changed, or it belongs to another row."""
    try:
        version, kid, payload = text.split(".")
        return _opened(version, kid, b64decode(payload, validate=True), owner, held).decode()
    except ValueError:
        raise UnsealError(UNOPENED) from None


def unseal_bytes(sealed: bytes, owner: str, held: Keyring) -> bytes:
    """The content that `seal_bytes` sealed; UnsealError as above."""
    version, _, rest = sealed.partition(b".")
    kid, _, raw = rest.partition(b".")
    return _opened(version.decode("latin-1"), kid.decode("latin-1"), raw, owner, held)


def _closed(content: bytes, owner: str, key: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, content, owner.encode())


def _opened(version: str, kid: str, raw: bytes, owner: str, held: Keyring) -> bytes:
    if version != VERSION:
        raise UnsealError("sealed by a version this server does not know")
    try:
        return AESGCM(held.keyring[kid]).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], owner.encode())
    except (ValueError, KeyError, InvalidTag):
        raise UnsealError(UNOPENED) from None
