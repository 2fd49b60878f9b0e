"""A stream on its way to the client, recorded as it passes, and kept before its last frame leaves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol, Self, cast

from app.gateway.idempotency import kept

if TYPE_CHECKING:
    from app.gateway.exchange import Exchange
    from app.wire.replies import Reply

End = Callable[..., Awaitable[None]]


class Source(Protocol):
    """A stream that knows when its call is settled: only its last frame is still to come then."""

    settled: bool

    async def __anext__(self) -> bytes:
        """The next frame."""

    async def aclose(self) -> None:
        """Nobody reads on."""


class Recording:
    """Passes every frame on at once. A stream that broke, was cut or grew too large is not kept."""

    def __init__(self, reply: Reply, exchange: Exchange, end: End) -> None:
        self._reply, self._exchange, self._end = reply, exchange, end
        self._source = cast("Source", reply.chunks)
        self._frames: list[bytes] = []
        self._size = 0
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        frame = await anext(self._source)
        self._size += len(frame)
        if self._size <= kept.LARGEST:
            self._frames.append(frame)
        else:
            self._frames.clear()
        if self._source.settled and not self._over:
            await self._finish()
        return frame

    async def aclose(self) -> None:
        """The client is gone, or has everything."""
        await self._source.aclose()
        if not self._over:
            self._over = True
            await self._end()

    async def _finish(self) -> None:
        self._over = True
        if self._exchange.status != "ok" or self._size > kept.LARGEST:
            await self._end()
            return
        await self._end(partial(kept.of_reply, self._reply, b"".join(self._frames)))
