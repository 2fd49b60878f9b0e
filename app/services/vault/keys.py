"""The operator's keys, as an environment variable holds them: the first seals, the others only open.

A key is known by a fingerprint of itself, which stands in whatever it sealed: the same key has the same name wherever
it is written, and no two have one.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2s
from typing import Final

KEY_BYTES: Final = 32
# What the names of these keys begin with, and those of the server's own do not.
PREFIX: Final = "vault"
HEX_DIGITS: Final = 2 * KEY_BYTES
MOST_KEYS: Final = 100
FORM: Final = "32 random bytes in base64 or hexadecimal, or several such keys with commas between"


class UnusableKeyError(Exception):
    """There is no key where one should be; the message says what to do, and nothing of what is there."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys by their fingerprints; new things are sealed under the `current` one."""

    current: str
    keyring: Mapping[str, bytes] = field(repr=False)


def read(variable: str, environ: Mapping[str, str] = os.environ) -> Keys:
    """The keys in this variable; UnusableKeyError."""
    text = environ.get(variable, "").strip()
    if not text:
        raise UnusableKeyError(f"the environment variable {variable} is not set: give it {FORM}")
    try:
        keys = [_key(part.strip()) for part in text.split(",")[:MOST_KEYS]]
    except ValueError:
        raise UnusableKeyError(f"the environment variable {variable} holds no key: give it {FORM}") from None
    named = {_fingerprint(key): key for key in keys}
    return Keys(_fingerprint(keys[0]), named)


def _key(text: str) -> bytes:
    """Exactly so many bytes: a cut or emptied key must not protect anything."""
    if len(text) == HEX_DIGITS:
        return bytes.fromhex(text)
    bare = text.rstrip("=").replace("+", "-").replace("/", "_")
    raw = urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    if len(raw) != KEY_BYTES:
        raise ValueError("a key of another length")
    return raw


def _fingerprint(key: bytes) -> str:
    return PREFIX + blake2s(key, digest_size=4, person=b"vaultkey").hexdigest()
