"""Answers of the async plane, and the plain ASGI work of reading bodies and sending answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

from app.problems import Problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]

JSON_TYPE = (b"content-type", b"application/json")
# A whole answer as one message, where the server says by an extension of that name that it takes it; ASGI has two.
WHOLE = "http.response.whole"
# RFC 9110 §8.6: these have no body, and must not tell of an empty one.
BODILESS = frozenset({204, 304})


class Disconnected(Exception):  # noqa: N818 (an event, not a defect)
    """The client hung up before its request was whole; there is nobody to answer."""


@dataclass(slots=True)
class Reply:
    """A whole answer, or one sent piece by piece when `chunks` is set."""

    status: int = 200
    headers: RawHeaders = field(default_factory=list)
    body: bytes = b""
    chunks: AsyncIterator[bytes] | None = None


def json_reply(value: Any, status: int = 200, headers: Iterable[tuple[bytes, bytes]] = ()) -> Reply:
    """A JSON answer."""
    return Reply(status, [JSON_TYPE, *headers], orjson.dumps(value))


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole request body; Problem 413 as soon as it passes `limit` bytes, Disconnected when it breaks off."""
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise too_large(limit)
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def too_large(limit: int) -> Problem:
    """413, naming the limit."""
    message = f"The body is larger than the {limit} bytes this operation takes"
    return Problem(413, message, headers={"connection": "close"})


def send_reply(reply: Reply, receive: Receive, send: Send, *, whole: bool = False) -> Awaitable[None]:
    """Send an answer, `whole` in one message; a stream ends early, closing its source, when the client hangs up."""
    if reply.chunks is not None:
        return _send_stream(reply, reply.chunks, receive, send)
    length = [] if reply.status in BODILESS else [(b"content-length", b"%d" % len(reply.body))]
    head = [*reply.headers, *length]
    if whole:
        return send({"type": WHOLE, "status": reply.status, "headers": head, "body": reply.body})
    return _send_parts(reply.status, head, reply.body, send)


async def _send_parts(status: int, head: RawHeaders, body: bytes, send: Send) -> None:
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def _send_stream(reply: Reply, chunks: AsyncIterator[bytes], receive: Receive, send: Send) -> None:
    try:
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await _stream(chunks, receive, send)
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()


async def _stream(chunks: AsyncIterator[bytes], receive: Receive, send: Send) -> None:
    pump = asyncio.ensure_future(_pump(chunks, send))
    watch = asyncio.ensure_future(_hung_up(receive))
    try:
        await asyncio.wait({pump, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not pump.done():
            pump.cancel()
        with suppress(asyncio.CancelledError):
            await pump
    finally:
        watch.cancel()
        pump.cancel()


async def _pump(chunks: AsyncIterator[bytes], send: Send) -> None:
    async for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
