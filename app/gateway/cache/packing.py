"""An answer as it is stored: one line of what is known of it, the answer after it, and all of it sealed."""

from __future__ import annotations

from dataclasses import asdict

import orjson

from app.gateway.cache.memory import Found, Kept
from app.gateway.wire import Usage
from app.security.sealing import Keyring, seal, unseal


def pack(key: str, said: bytes, kept: Kept, secrets: Keyring) -> str:
    """The chat answer `said` with its usage, cost and provider; only under this key can it be opened again."""
    known = orjson.dumps([asdict(kept.usage), kept.cost_nano, kept.provider])
    return seal(b"\n".join((known, said)).decode(), owner_of(key), secrets)


def unpack(key: str, sealed: str, expires: float, secrets: Keyring) -> Found:
    """What was packed, as an answer that expires then; UnsealError or ValueError when it is no such thing."""
    known, _, said = unseal(sealed, owner_of(key), secrets).encode().partition(b"\n")
    usage, cost_nano, provider = orjson.loads(known)
    return said, Kept(orjson.loads(said), Usage(**usage), cost_nano, provider, expires)


def owner_of(key: str) -> str:
    """What an answer is sealed for."""
    return f"answer:{key}"
