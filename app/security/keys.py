"""API keys: minting, recognising, hashing. A key is shown once; only its HMAC is stored."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets as random

from app.security.secrets import Secrets

ADMIN_PREFIX = "sy_admin_"
USER_PREFIX = "sy_"
BOX_PREFIX = "stout_"
SHAPE = re.compile(r"sy_(admin_)?[A-Za-z0-9_-]{16,200}\Z")
BOX_SHAPE = re.compile(r"stout_[0-9a-f]{64}\Z")


def mint_box() -> str:
    """A new key for a box: 32 random bytes as hex."""
    return BOX_PREFIX + random.token_hex(32)


def mint(role: str) -> str:
    """A new key of 32 random bytes; an admin key also starts with the user prefix, so test the admin's first."""
    prefix = ADMIN_PREFIX if role == "admin" else USER_PREFIX
    return prefix + random.token_urlsafe(32)


def fingerprint(key: str, pepper: bytes) -> str:
    """HMAC-SHA256 under the server's pepper, as hex: what the database holds and is searched by."""
    return hmac.digest(pepper, key.encode(), "sha256").hex()


def fingerprints(key: str, secrets: Secrets) -> tuple[str, ...]:
    """The fingerprint under each pepper the server accepts, the current one first: what rows are looked up by."""
    return tuple(fingerprint(key, pepper) for pepper in secrets.peppers)


def legacy_fingerprint(key: str) -> str:
    """Bare SHA-256, as older rows hold it; they are rewritten on next use."""
    return hashlib.sha256(key.encode()).hexdigest()


def shown(key: str) -> str:
    """What may be displayed of a key: the first 12 characters and the last 4."""
    return f"{key[:12]}...{key[-4:]}"


def shown_prefix(key: str) -> str:
    """What of a box's key may stay in sight: its first 12 characters."""
    return key[:12]
