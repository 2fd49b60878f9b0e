"""Addresses that carry their own permission: one method on one path, until a moment, signed by this server."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlencode

from app.security.secrets import Secrets

# Keeps these signatures apart from every other use of the signing keys.
PURPOSE = b"yardmaster presigned address v1"


@dataclass(frozen=True, slots=True)
class Given:
    """The query of a presigned address, as a request brought it."""

    expires: int
    key: str
    signature: str = field(repr=False)


def presign(method: str, path: str, expires_at: datetime, secrets: Secrets) -> str:
    """The path with the query that permits this method on it until then (whole seconds)."""
    expires = int(expires_at.timestamp())
    signature = _signature(method, path, expires, secrets.signing[secrets.signer])
    return f"{path}?{urlencode({'expires': expires, 'key': secrets.signer, 'signature': signature})}"


def permits(method: str, path: str, given: Given, moment: datetime, secrets: Secrets) -> bool:
    """Whether the query was made by `presign` for this method and path, and its moment has not come."""
    key = secrets.signing.get(given.key)
    if key is None or given.expires <= moment.timestamp():
        return False
    return hmac.compare_digest(_signature(method, path, given.expires, key), given.signature)


def _signature(method: str, path: str, expires: int, signing_key: bytes) -> str:
    """HMAC-SHA256, as hex, under a key derived for this purpose alone (NIST SP 800-108r1 §4, one block)."""
    derived = hmac.digest(signing_key, PURPOSE, "sha256")
    return hmac.digest(derived, f"{method}\n{path}\n{expires}".encode(), "sha256").hex()
