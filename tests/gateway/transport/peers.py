"""A provider on a raw socket, told byte by byte what to do, and a caller of it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from app.gateway.transport import HttpTransport
from app.gateway.wire import Outgoing

Serve = Callable[["Peer"], Awaitable[None]]
GONE = (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError)


class Peer:
    """One connection as the provider sees it."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number, self.reader, self.writer = number, reader, writer

    async def request(self) -> bytes:
        """The next request, head and body; IncompleteReadError when the client closed instead."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        return head + await self.reader.readexactly(length)

    async def send(self, data: bytes) -> None:
        """Send, waiting while the client does not read."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes = b"ok", fields: bytes = b"") -> None:
        """A whole answer."""
        await self.send(b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (fields, len(body), body))

    async def gone(self) -> None:
        """Wait until the client has closed the connection."""
        while await self.reader.read(65536):
            pass


class Provider:
    """Serves every connection by the same script; counts what was opened, what is open, and what was asked."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self.opened = self.open = 0
        self.port = 0

    @property
    def url(self) -> str:
        """A URL of it."""
        return f"http://127.0.0.1:{self.port}/v1/x"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side closes."""
        self.opened += 1
        self.open += 1
        try:
            with suppress(*GONE):
                await self._serve(Peer(self.opened, reader, writer))
        finally:
            self.open -= 1
            writer.close()
            with suppress(*GONE):
                await writer.wait_closed()

    async def has_open(self, count: int, within: float = 5.0) -> float:
        """Wait until so many connections are open; the seconds it took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while self.open != count:
            assert loop.time() < began + within, f"{self.open} connections are open, not {count}"
            await asyncio.sleep(0.001)
        return loop.time() - began


@asynccontextmanager
async def provider(serve: Serve, host: str = "127.0.0.1", **options: Any) -> AsyncIterator[Provider]:
    """A provider listening on loopback."""
    made = Provider(serve)
    server = await asyncio.start_server(made.handle, host, made.port, **options)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


async def keep_answering(peer: Peer) -> None:
    """The usual provider: an answer to each request, on one connection."""
    while True:
        await peer.request()
        await peer.answer(b"%d" % peer.number)


def to(url: str, body: bytes = b"{}") -> Outgoing:
    """A request."""
    return Outgoing(url, {"content-type": "application/json"}, body)


async def ask(transport: HttpTransport, url: str) -> bytes:
    """The body of one answer, read as the lane reads it."""
    response = await transport(to(url))
    try:
        return await response.read()
    finally:
        await response.close()
