"""Warm pool: connections to providers that are open before a call needs them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from app.gateway.modules.catalogue import parse_duration
from app.gateway.steps import Module, Place, Steps
from app.gateway.transport import HttpTransport
from app.gateway.wire import Json


class Warmpool(Module):
    """Looked after beside the calls; a provider that cannot be reached is tried again at the next look."""

    COUNTS = ("opened", "failed")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._count = 0
        self._every = self._due = 0.0
        self._looking: asyncio.Task[None] | None = None
        self._ready = 0

    def settle_in(self, place: Place) -> None:
        """It opens what calls will use."""
        self._place = place

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """None: calls are not touched."""
        self._count, self._every, self._due = settings["connections"], parse_duration(settings["interval"]), 0.0
        return Steps()

    def tend(self) -> None:
        """Look whether enough are open, when it is time."""
        idle, transport = self._looking is None or self._looking.done(), self._place.transport
        if transport and idle and self._clock() >= self._due:
            self._due = self._clock() + self._every
            self._looking = asyncio.get_running_loop().create_task(self._look(transport))

    async def stop(self) -> None:
        """Open no more."""
        if self._looking is not None:
            self._looking.cancel()

    def stats(self) -> Json:
        """With the providers' addresses at which enough were ready when it was last looked."""
        return super().stats() | {"ready": self._ready}

    async def _look(self, transport: HttpTransport) -> None:
        called = [account.base_url for account in self._place.accounts().values() if not account.provider.transport]
        places = {urlsplit(url)[:2]: url for url in called}  # several may be one server
        self._ready = sum(await asyncio.gather(*(self._warm(transport, url) for url in places.values())))

    async def _warm(self, transport: HttpTransport, url: str) -> bool:
        try:
            self.counted["opened"] += await transport.warm(url, self._count)
        except OSError:
            self.counted["failed"] += 1
            return False
        return True
