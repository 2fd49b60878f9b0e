"""Turns the credential of a request into a principal, and holds it against what the document asks."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable, Mapping
from hashlib import blake2b

from sqlalchemy import Engine, select, update

from app.problems import Problem, forbidden, unauthorized
from app.security.keys import SHAPE, fingerprint, legacy_fingerprint
from app.security.principals import ANONYMOUS, Principal
from app.security.scopes import covers, parse
from app.spec.operations import Operation
from models.base import now, transaction
from models.identity import ApiKey

FRESH_S = 60.0
CACHE_SIZE = 10_000
MOST_KEY_BYTES = 64
LEGACY = "sha256"
ADMIN = Principal("admin", frozenset({"admin"}))
SCHEMES = frozenset({"sy_key", "sy_admin_header", "provider_key"})


class Authenticator:
    """Resolves keys by their fingerprint, with a bounded cache that a change of keys empties."""

    def __init__(self, engine: Engine, pepper: bytes, admin_key: str) -> None:
        self._engine = engine
        self._pepper = pepper
        self._cache_key = pepper[:MOST_KEY_BYTES]
        self._admin = fingerprint(admin_key, pepper) if admin_key else ""
        self.provider_of: Callable[[str], str | None] = lambda _: None
        self._cache: dict[bytes, tuple[float, Principal]] = {}
        self._generation = 0
        # When each key was last used, in epoch seconds, until somebody writes it down.
        self.used: dict[int, float] = {}

    def forget(self) -> None:
        """Drop what is cached: some key was made, changed or revoked."""
        self._generation += 1
        self._cache.clear()

    async def admit(self, operation: Operation, headers: Mapping[str, str]) -> Principal:
        """The caller, allowed; Problem 401 or 403 otherwise. A public operation looks at no credential."""
        if not operation.security:
            return ANONYMOUS
        presented = _presented(headers)
        if presented is None:
            if any(not requirement for requirement in operation.security):
                return ANONYMOUS
            raise unauthorized("Missing API key. Send it as Authorization: Bearer sy_...")
        scheme, secret = presented
        principal = await self._resolve(scheme, secret, operation)
        if not _allowed(principal, scheme, operation):
            raise forbidden("This key may not do that; it lacks the role the operation asks for")
        if not covers(principal.scopes, operation.tag, operation.method):
            raise forbidden(f"This key may not do that; its scopes do not cover {operation.tag}")
        if principal.key_id is not None:
            self.used[principal.key_id] = time.time()
        return principal

    async def _resolve(self, scheme: str, secret: str, operation: Operation) -> Principal:
        if scheme == "sy_key" and not secret.startswith("sy_"):
            provider = self.provider_of(secret) if _takes("provider_key", operation) else None
            if provider is None:
                raise _rejected()
            return Principal("provider", frozenset(), provider=provider, secret=secret)
        if not SHAPE.match(secret):
            raise _rejected()
        return await self._by_key(secret)

    async def _by_key(self, key: str) -> Principal:
        # Keyed BLAKE2 (RFC 7693 §2.9): as safe as the stored HMAC for finding a key in memory, at a tenth of its cost.
        held = blake2b(key.encode(), digest_size=32, key=self._cache_key).digest()
        found = self._cache.get(held)
        if found and found[0] > time.monotonic():
            return found[1]
        generation = self._generation
        fresh_for, principal = await self._find(key)
        if generation == self._generation:  # a revocation during the look-up must not be cached over
            if len(self._cache) >= CACHE_SIZE:
                self._cache.clear()
            self._cache[held] = (time.monotonic() + fresh_for, principal)
        return principal

    async def _find(self, key: str) -> tuple[float, Principal]:
        digest = fingerprint(key, self._pepper)
        if self._admin and hmac.compare_digest(digest, self._admin):
            return FRESH_S, ADMIN
        return await asyncio.to_thread(self._look_up, key, digest)

    def _look_up(self, key: str, digest: str) -> tuple[float, Principal]:
        known = select(ApiKey).where(ApiKey.key_hash.in_((digest, legacy_fingerprint(key))))
        with transaction(self._engine, write=False) as session:
            row = session.scalar(known)
        left = (row.expires_at - now()).total_seconds() if row and row.expires_at else FRESH_S
        if row is None or row.revoked_at is not None or left <= 0:
            raise _rejected()
        if row.hash_algorithm == LEGACY:
            self._upgrade(row.id, digest)
        kind = "admin" if row.role == "admin" else "user"
        return min(FRESH_S, left), Principal(kind, frozenset({row.role}), row.user_id, row.id, scopes=parse(row.scopes))

    def _upgrade(self, key_id: int, digest: str) -> None:
        """A row that still holds bare SHA-256 is rewritten to the HMAC the first time its key is used."""
        legacy = update(ApiKey).where(ApiKey.id == key_id, ApiKey.hash_algorithm == LEGACY)
        with transaction(self._engine) as session:
            session.execute(legacy.values(key_hash=digest, hash_algorithm="hmac-sha256"))


def _presented(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """The scheme and secret of the request; the admin header is looked at before `Authorization`."""
    if secret := headers.get("x-admin-key"):
        return "sy_admin_header", secret
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if not scheme:
        return None
    if scheme.lower() != "bearer" or not token.strip():
        raise unauthorized("Send the key as Authorization: Bearer sy_...")
    return "sy_key", token.strip()


def _takes(scheme: str, operation: Operation) -> bool:
    return any(scheme in requirement for requirement in operation.security)


def _allowed(principal: Principal, scheme: str, operation: Operation) -> bool:
    presented = "provider_key" if principal.kind == "provider" else scheme
    return any(
        presented in requirement and (not requirement[presented] or principal.roles & requirement[presented])
        for requirement in operation.security
    )


def _rejected() -> Problem:
    return unauthorized("Invalid API key", challenge='Bearer error="invalid_token"')
