"""Provider keys that users brought: unsealed on first use, forgotten when any settings change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from sqlalchemy import Engine, select

from app.gateway.config import Account, addresses
from app.gateway.providers import PROVIDERS
from app.gateway.wire import Provider
from app.security.sealing import UnsealError, unseal
from app.security.secrets import Secrets
from models.base import transaction
from models.identity import ProviderKey

log = logging.getLogger("yardmaster.gateway")
MOST_USERS = 10_000


def owner(user_id: int, provider: str) -> str:
    """What a stored provider key is sealed for."""
    return f"user:{user_id}:provider:{provider}"


class PersonalAccounts:
    """The accounts of each user who called lately."""

    def __init__(self, engine: Engine, secrets: Secrets) -> None:
        self._engine = engine
        self._secrets = secrets
        self._held: dict[int, Mapping[str, Account]] = {}
        self._generation = 0

    def forget(self) -> None:
        """Some user's keys may have changed."""
        self._generation += 1
        self._held = {}

    async def of(self, user_id: int) -> Mapping[str, Account]:
        """The user's own accounts by provider name."""
        found = self._held.get(user_id)
        if found is not None:
            return found
        generation = self._generation
        loaded = await asyncio.to_thread(self._load, user_id)
        if generation == self._generation and len(self._held) < MOST_USERS:
            self._held[user_id] = loaded
        return loaded

    def _load(self, user_id: int) -> dict[str, Account]:
        with transaction(self._engine, write=False) as session:
            rows = session.scalars(select(ProviderKey).where(ProviderKey.user_id == user_id)).all()
        return {row.provider: account for row in rows if (account := self._account(row))}

    def _account(self, row: ProviderKey) -> Account | None:
        """The account, guarded when the user chose its address; None, and a line in the log, when it stays shut."""
        try:
            key = unseal(row.sealed_key, owner(row.user_id, row.provider), self._secrets)
        except UnsealError as error:
            log.error("the key of %s for user %s stays shut: %s", row.provider, row.user_id, error)  # noqa: TRY400
            return None
        known = PROVIDERS.get(row.provider)
        if known is None and row.base_url is None:
            return None
        provider = known or Provider(row.provider, row.base_url or "", PROVIDERS["openai"].wire)
        url = row.base_url or addresses().get(row.provider) or provider.base_url
        return Account(provider, url.rstrip("/"), key, guarded=row.base_url is not None)
