"""A provider's response: filled by its connection as bytes come, read by the gateway at its own pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Final, Protocol, Self

from app.gateway.transport.encoding import Inflater, inflater
from app.gateway.transport.framing import Message
from app.gateway.transport.silence import Silence

HIGH_WATER: Final = 256 * 1024
MOST_BYTES: Final = 64 * 1024 * 1024

BROKEN: Final = "the connection broke before the answer was complete"
CLOSED: Final = "the answer was closed before it was complete"


class StaleError(ConnectionError):
    """The connection ended before the first byte of an answer."""


class Source(Protocol):
    """What a response asks of the connection it comes over."""

    def pause(self) -> None:
        """Read no more for now."""

    def resume(self) -> None:
        """Read again."""

    def abort(self) -> None:
        """Close the socket at once."""


class HttpResponse:
    """One response. Its body is read once: whole by `read`, or by `chunks`; unread bytes are bounded by 256 KiB."""

    __slots__ = ("_error", "_headers", "_message", "_pieces", "_silence", "_size", "_source", "_waiter", "_whole")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._message = Message()
        self._headers: dict[str, str] | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._whole = False
        self._waiter: asyncio.Future[None] | None = None
        self._silence: Silence | None = None
        self._error: OSError | None = None

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._message.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The response headers; names in lower case."""
        if self._headers is None:
            self._headers = self._message.headers()
        return self._headers

    async def read(self) -> bytes:
        """The whole body; OSError when the connection broke or the body is longer than 64 MiB."""
        self._whole = True
        self._source_resumed()
        while not self._message.complete and self._error is None and not self._is_too_long:
            await self._more()
        if self._is_too_long:
            await self.close()
            raise ConnectionError(f"the answer is longer than {MOST_BYTES // 1024 // 1024} MiB")
        if self._error is not None:
            raise self._error
        body = self._taken()
        return _inflated(body, self._message.encoding) if self._message.encoding else body

    def chunks(self, tick: float = 0.0) -> AsyncIterator[bytes]:
        """The body as it arrives, and an empty piece after a `tick` of silence; OSError when the connection broke."""
        coding = inflater(self._message.encoding)
        arriving = self._arriving(tick)
        return _inflating(arriving, coding) if coding else arriving

    async def _arriving(self, tick: float) -> AsyncIterator[bytes]:
        silence = self._silence = Silence(tick, self._wake) if tick else None
        try:
            while True:
                if self._pieces:
                    data = self._taken()
                    self._source_resumed()
                    yield data
                elif self._error is not None:
                    raise self._error
                elif self._message.complete:
                    return
                elif silence and silence.take():
                    yield b""
                else:
                    await self._more()
        finally:
            self._end_silence()

    async def close(self) -> None:
        """Give the connection up, unless it was read to its end and given back already; may be called twice."""
        self._drop()
        self._end_silence()

    async def begun(self) -> Self:
        """Itself, once its head is there; OSError when none came, StaleError when not even one byte did."""
        while not self._message.status:
            if self._error is not None:
                raise self._error
            await self._more()
        return self

    def feed(self, data: bytes) -> bool:
        """Take bytes off the socket; whether the response is complete. MalformedError when they are no HTTP."""
        message = self._message
        if piece := message.feed(data):
            self._pieces.append(piece)
            self._size += len(piece)
        if message.complete:
            self._wake()
            return True
        if not self._whole and self._size > HIGH_WATER:
            self._source.pause()
        if message.status and (not self._whole or self._is_too_long):
            self._wake()
        return False

    @property
    def leaves_reusable(self) -> bool:
        """Whether the connection of this complete response may carry another."""
        return self._message.reusable

    def lost(self, error: Exception | None) -> None:
        """Take the end of the connection, `error` being None when the other side closed it in order."""
        if error is None and self._message.end():
            self._wake()
        elif self._message.begun:
            self.fail(ConnectionError(BROKEN))
        else:
            self.fail(StaleError(BROKEN))

    def fail(self, error: OSError) -> None:
        """Let whoever reads see the first error, after what had arrived by then."""
        self._error = self._error or error
        self._wake()

    @property
    def _is_too_long(self) -> bool:
        return self._size > MOST_BYTES or self._message.announced > MOST_BYTES

    def _taken(self) -> bytes:
        pieces, self._pieces, self._size = self._pieces, [], 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _source_resumed(self) -> None:
        if not self._message.complete and self._error is None:
            self._source.resume()

    def _drop(self) -> None:
        if not self._message.complete and self._error is None:
            self._error = ConnectionError(CLOSED)
            self._source.abort()

    def _end_silence(self) -> None:
        """Each knows the other: left so, they and their call would wait for the collector."""
        if self._silence:
            self._silence.end()
            self._silence = None

    async def _more(self) -> None:
        """Wait until something happens; whoever gives up waiting gives up the connection."""
        self._waiter = asyncio.get_running_loop().create_future()
        if self._silence:
            self._silence.begin()
        try:
            await self._waiter
        except BaseException:
            self._drop()
            raise
        finally:
            if self._silence:
                self._silence.interrupt()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


async def _inflating(arriving: AsyncIterator[bytes], coding: Inflater) -> AsyncIterator[bytes]:
    async for data in arriving:
        if not data:
            yield data
        for piece in coding.feed(data):
            yield piece
    coding.end()


def _inflated(body: bytes, coding: bytes) -> bytes:
    found = inflater(coding)
    if found is None or not body:
        return body
    pieces: list[bytes] = []
    size = 0
    for piece in found.feed(body):
        pieces.append(piece)
        size += len(piece)
        if size > MOST_BYTES:
            raise ConnectionError(f"the answer is longer than {MOST_BYTES // 1024 // 1024} MiB")
    found.end()
    return b"".join(pieces)
