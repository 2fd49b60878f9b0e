"""Writes down when keys were last used: gathered in memory, stored every few seconds, never by a request."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta

from sqlalchemy import bindparam, or_, update

from app.runtime import Runtime
from models.base import EPOCH, transaction
from models.identity import ApiKey

log = logging.getLogger("yardmaster.key_use")
INTERVAL_S = 5.0


class KeyUse:
    """Takes the authenticator's record of used keys into the database."""

    def __init__(self, held: Runtime) -> None:
        self._runtime = held
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Begin writing."""
        self._task = asyncio.create_task(self._write_on())

    async def stop(self) -> None:
        """End, with the last uses written; a writing under way is waited for."""
        self._stopping.set()
        if self._task:
            await self._task

    async def _write_on(self) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), INTERVAL_S)
            await self.flush()

    async def flush(self) -> None:
        """Write what was gathered; a database that cannot be reached leaves it for the next time."""
        authenticator = self._runtime.authenticator
        used, authenticator.used = authenticator.used, {}
        if not used:
            return
        try:
            await asyncio.to_thread(self._store, used)
        except Exception as error:  # noqa: BLE001 (a database away for a moment must not end the writing)
            log.warning("the use of keys cannot be written: %s", type(error).__name__)
            authenticator.used = used | authenticator.used

    def _store(self, used: dict[int, float]) -> None:
        """In the order of ids, so that two workers never wait for each other; a later use is never set back."""
        newer = or_(ApiKey.last_used.is_(None), ApiKey.last_used < bindparam("at", type_=ApiKey.last_used.type))
        statement = update(ApiKey).where(ApiKey.id == bindparam("key"), newer).values(last_used=bindparam("at"))
        rows = [{"key": key, "at": EPOCH + timedelta(seconds=at)} for key, at in sorted(used.items())]
        with transaction(self._runtime.engine) as opened:
            opened.connection().execute(statement, rows)
