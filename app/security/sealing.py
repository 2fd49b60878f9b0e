"""Sealing secrets at rest: AES-256-GCM under a rotatable keyring, bound to the row that owns them."""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.security.secrets import Secrets

VERSION = "v1"
NONCE_BYTES = 12


class UnsealError(Exception):
    """The text was not sealed by this keyring for this owner."""


def seal(secret: str, owner: str, held: Secrets) -> str:
    """`v1.<key id>.<base64 of nonce and ciphertext>`; only `owner` can unseal it."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    sealed = AESGCM(held.keyring[held.current]).encrypt(nonce, secret.encode(), owner.encode())
    return f"{VERSION}.{held.current}.{b64encode(nonce + sealed).decode()}"


def unseal(text: str, owner: str, held: Secrets) -> str:
    """The secret; UnsealError when the key is gone, the text was changed, or it belongs to another row."""
    try:
        version, kid, payload = text.split(".")
        raw = b64decode(payload, validate=True)
        if version != VERSION:
            raise UnsealError("sealed by a version this server does not know")
        return AESGCM(held.keyring[kid]).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], owner.encode()).decode()
    except (ValueError, KeyError, InvalidTag):
        raise UnsealError("the sealed text cannot be opened with this keyring") from None
