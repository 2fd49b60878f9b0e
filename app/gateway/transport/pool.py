"""The connections of one worker: made when needed, kept while they are good for another request."""

from __future__ import annotations

import asyncio
from contextvars import Context
from functools import partial
from typing import Final

from app.gateway.transport.connection import Connection
from app.gateway.transport.dialing import dial
from app.gateway.transport.origins import Origin
from app.gateway.transport.resolver import Resolver
from app.gateway.wire import NotConnectedError

CONNECT_S: Final = 5.0
IDLE_S: Final = 55.0
SWEEP_S: Final = 5.0
MOST_IDLE: Final = 256
MOST_IDLE_ALL: Final = 1024


class Pool:
    """Idle connections by origin, the one used last first. How many are in use is not bounded here."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._open: set[Connection] = set()
        self._idle: dict[Origin, list[Connection]] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def take(self, origin: Origin) -> Connection | None:
        """An idle connection, if there is one."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.usable:
                return connection
        return None

    def idle(self, origin: Origin) -> int:
        """How many connections wait there for a request."""
        return sum(connection.usable for connection in self._idle.get(origin, ()))

    async def connect(self, origin: Origin) -> Connection:
        """A fresh connection; NotConnectedError within five seconds when there is none to be had.

        Made in an empty context: a socket outlives the call it was opened for, whose variables it would hold on to.
        """
        opening = asyncio.get_running_loop().create_task(self._open_one(origin), context=Context())
        try:
            return await opening
        except asyncio.CancelledError:
            opening.add_done_callback(_discard)
            raise

    def keep(self, connection: Connection) -> None:
        """Take back a connection that may carry another exchange."""
        idle = self._idle.setdefault(connection.origin, [])
        if len(idle) >= MOST_IDLE or (len(self._open) > MOST_IDLE_ALL and self._idle_count() >= MOST_IDLE_ALL):
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        idle.append(connection)
        if self._sweeper is None:
            self._sweeper = loop.call_later(SWEEP_S, self._sweep)

    def forget(self, connection: Connection) -> None:
        """A connection is closed."""
        self._open.discard(connection)
        idle = self._idle.get(connection.origin, [])
        if connection in idle:
            idle.remove(connection)

    def close(self) -> None:
        """Close every connection, idle or not."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in self._open:
            connection.abort()
        self._idle = {}
        self._resolver.close()

    def _idle_count(self) -> int:
        return sum(map(len, self._idle.values()))

    async def _open_one(self, origin: Origin) -> Connection:
        try:
            async with asyncio.timeout(CONNECT_S):
                addresses = await self._resolver.addresses(origin)
                made = await dial(origin, addresses, partial(Connection, origin, self))
        except TimeoutError:
            self._resolver.forget(origin)
            raise NotConnectedError(f"cannot connect within {CONNECT_S:g} s") from None
        except NotConnectedError:
            self._resolver.forget(origin)
            raise
        self._open.add(made)
        return made

    def _sweep(self) -> None:
        """Close what was idle for too long; providers close such connections too, and then a request would hit it."""
        loop = asyncio.get_running_loop()
        limit = loop.time() - IDLE_S
        for idle in self._idle.values():
            while idle and idle[0].idle_since <= limit:
                idle.pop(0).abort()
        self._idle = {origin: idle for origin, idle in self._idle.items() if idle}
        self._sweeper = loop.call_later(SWEEP_S, self._sweep) if self._idle else None


def _discard(opening: asyncio.Task[Connection]) -> None:
    """Close a connection that was made just as nobody wanted it any more."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().abort()
