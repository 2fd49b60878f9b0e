"""Passwords: hashed with Argon2id, compared in constant time, rehashed when the parameters move on."""

from __future__ import annotations

import secrets
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

# RFC 9106 §4, second recommended option: 64 MiB, 3 passes.
_HASHER = PasswordHasher(time_cost=3, memory_cost=65536, parallelism=4)


def hashed(password: str) -> str:
    """The hash to store."""
    return _HASHER.hash(password)


def matches(password: str, stored: str | None) -> bool:
    """Whether the password is the stored one; takes as long when there is none, so that it tells nothing."""
    try:
        return _HASHER.verify(stored or _nobodys(_HASHER), password) and stored is not None
    except (Argon2Error, InvalidHashError):
        return False


def outdated(stored: str) -> bool:
    """Whether the hash should be made anew at the next successful login."""
    return _HASHER.check_needs_rehash(stored)


@cache
def _nobodys(hasher: PasswordHasher) -> str:
    return hasher.hash(secrets.token_urlsafe(32))
