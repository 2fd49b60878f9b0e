"""One socket to a provider, carrying one exchange at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Protocol, cast

from app.gateway.transport.origins import Origin
from app.gateway.transport.response import HttpResponse


class Keeper(Protocol):
    """Where a connection goes between exchanges."""

    def keep(self, connection: Connection, /) -> None:
        """Take one that may carry another exchange."""

    def forget(self, connection: Connection, /) -> None:
        """One is closed."""


class Connection(asyncio.Protocol):
    """A connection. `reused` once it has carried an exchange; `idle_since` is the loop's time when it was last kept."""

    __slots__ = ("_answer", "_keeper", "_paused", "_transport", "idle_since", "origin", "reused")

    def __init__(self, origin: Origin, keeper: Keeper) -> None:
        self.origin = origin
        self.reused = False
        self.idle_since = 0.0
        self._keeper = keeper
        self._answer: HttpResponse | None = None
        self._paused = False

    @property
    def usable(self) -> bool:
        """Whether, as far as is known here, the other side still listens."""
        return not self._transport.is_closing()

    def ask(self, request: bytes) -> Awaitable[HttpResponse]:
        """Send a request; the response once its head is there, OSError when none comes."""
        answer = self._answer = HttpResponse(self)
        self._transport.write(request)
        return answer.begun()

    def pause(self) -> None:
        """Read no more for now: the other side is held back by TCP."""
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close the socket at once; whoever waits for an answer is told."""
        answer, self._answer = self._answer, None
        self._transport.abort()
        if answer is not None:
            answer.lost(ConnectionAbortedError())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Fill the response; bytes nobody asked for end the connection."""
        answer = self._answer
        if answer is None:
            self.abort()
            return
        try:
            complete = answer.feed(data)
        except OSError as error:
            answer.fail(error)
            self.abort()
            return
        if complete:
            self._finish(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        answer, self._answer = self._answer, None
        self._keeper.forget(self)
        if answer is not None:
            answer.lost(exc)

    def _finish(self, answer: HttpResponse) -> None:
        """Keep the connection, unless the answer came before the request was taken whole."""
        self._answer = None
        self.reused = True
        self.resume()
        if answer.leaves_reusable and not self._transport.get_write_buffer_size():
            self._keeper.keep(self)
        else:
            self._transport.abort()
