"""Tells every worker that stored settings changed: one number, raised in the changing transaction."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from sqlalchemy import select, update

from app.runtime import Runtime
from models.base import REVISED, session
from models.gateway import Revision

log = logging.getLogger("yardmaster.revisions")
INTERVAL_S = 0.25
# Built once: every worker asks all the time.
NUMBER = select(Revision.number)


def bump() -> None:
    """Count this transaction as a change others must notice; they do within a second of its commit."""
    opened = session()
    opened.execute(update(Revision).values(number=Revision.number + 1))
    opened.info[REVISED] = True


class Watcher:
    """Looks at the number four times a second and tells the runtime when another worker raised it."""

    def __init__(self, held: Runtime) -> None:
        self._runtime = held
        # Before anything is loaded: what changes while this worker starts is noticed like what changes later.
        self._seen = self._read()
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Begin watching."""
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """End watching; a look under way is waited for, so that its connection is given back."""
        self._stopping.set()
        if self._task:
            await self._task

    async def _watch(self) -> None:
        while not await self._stops_within(INTERVAL_S):
            try:
                number = await asyncio.to_thread(self._read)
            except Exception as error:  # noqa: BLE001 (a database away for a moment must not end the watch)
                log.warning("the revision cannot be read: %s", type(error).__name__)
                continue
            if number != self._seen:
                self._seen = number
                await asyncio.to_thread(self._runtime.changed)

    async def _stops_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return self._stopping.is_set()

    def _read(self) -> int:
        with self._runtime.engine.connect() as connection:
            return connection.scalar(NUMBER) or 0
