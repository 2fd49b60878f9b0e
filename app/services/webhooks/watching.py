"""Events nobody asks for by a request: circuits that open and close, and a share of failures that grew high."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Engine, func, select

from app.engine import Context
from app.services.rollups import HOUR_US
from app.services.webhooks.events import announce
from models.base import micros, now, session, transaction
from models.traces import UsageRollup
from models.webhooks import WebhookMessage

log = logging.getLogger("yardmaster.webhooks")
EVERY_S: Final = 0.5
HIGH: Final = 0.10
LEAST_CALLS: Final = 20
HIGH_RATE: Final = "upgrade.error_rate_high"
COOLDOWN: Final = timedelta(hours=6)
Turned = tuple[str, bool, int]


class CircuitNews:
    """Tells of a worker's circuits soon after they opened or closed; `turned` is filled by them as they do."""

    def __init__(self, engine: Engine, turned: deque[Turned]) -> None:
        self._engine = engine
        self._turned = turned
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Tell what is left, and end."""
        self._stopping.set()
        if self._task:
            await self._task

    async def _watch(self) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), EVERY_S)
            if self._turned:
                await asyncio.to_thread(self._tell, list(self._turned))

    def _tell(self, turned: list[Turned]) -> None:
        try:
            with transaction(self._engine):
                for provider, opened, failures in turned:
                    told = {"provider": provider, "failures": failures, "worker": os.getpid()}
                    announce("circuit.opened" if opened else "circuit.closed", told)
        except Exception as error:  # noqa: BLE001 (a database away: told when it is back)
            log.warning("circuits cannot be told of: %s", type(error).__name__)
            return
        for _ in turned:
            self._turned.popleft()


class ErrorRate:
    """The engine's turn that looks at the share of failures in this hour and the last."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, _context: Context) -> None:
        """Announce a share of a tenth or more, at most every six hours."""
        with transaction(self._engine):
            calls, errors = _counts()
            if calls >= LEAST_CALLS and errors / calls >= HIGH and not _told_lately():
                announce(HIGH_RATE, _report(calls, errors))


def _counts() -> tuple[int, int]:
    since = micros(now()) // HOUR_US - 1
    sums = select(func.sum(UsageRollup.requests), func.sum(UsageRollup.errors)).where(UsageRollup.hour >= since)
    calls, errors = session().execute(sums).one()
    return int(calls or 0), int(errors or 0)


def _told_lately() -> bool:
    told = (WebhookMessage.event_type == HIGH_RATE, WebhookMessage.created_at > now() - COOLDOWN)
    return session().scalar(select(WebhookMessage.id).where(*told).limit(1)) is not None


def _report(calls: int, errors: int) -> dict[str, Any]:
    rate = round(errors / calls, 4)
    told = {"title": "Many calls fail", "message": f"{errors} of {calls} calls of this hour and the last failed."}
    return told | {"details": {"calls": calls, "errors": errors, "error_rate": rate}}
