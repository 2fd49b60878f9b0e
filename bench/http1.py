"""The client's side of HTTP/1.1, small enough that what it costs does not hide what it measures (RFC 9112 §6-7)."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

RECEIVE = 256 * 1024
LAST = b"0\r\n\r\n"


def render(url: str, headers: dict[str, str], body: bytes = b"", method: str = "POST") -> bytes:
    """A whole keep-alive request as bytes."""
    parts = urlsplit(url)
    fields = {"Host": parts.netloc, "Content-Length": str(len(body)), "Accept": "*/*"} | headers
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {parts.path or '/'} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body


def address(url: str) -> tuple[str, int]:
    """Host and port of a URL."""
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 80


class Reply:
    """Reads one response as its bytes come; `complete` turns true with the last of them.

    Bytes past the end are an error: nothing is pipelined here.
    """

    def __init__(self) -> None:
        self.status, self.complete = 0, False
        self.buffer = b""
        self.left: int | None = None
        self.chunked = False

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the socket; give the body bytes among them."""
        self.buffer += data
        if not self.status and not self._head():
            return b""
        return self._chunks() if self.chunked else self._plain()

    def _head(self) -> bool:
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self.buffer[:end].lower() + b"\r\n"
        self.status = int(head[9:12])
        self.buffer = self.buffer[end + 4 :]
        self.chunked = b"\r\ntransfer-encoding: chunked\r\n" in head
        if (at := head.find(b"\r\ncontent-length:")) >= 0:
            self.left = int(head[at + 17 : head.index(b"\r\n", at + 17)])
        return True

    def _plain(self) -> bytes:
        body, self.buffer = self.buffer, b""
        if self.left is None:
            return body
        self.left -= len(body)
        if self.left < 0:
            raise ValueError("more bytes than Content-Length")
        self.complete = self.left == 0
        return body

    def _chunks(self) -> bytes:
        pieces: list[bytes] = []
        while not self.complete and (line := self.buffer.find(b"\r\n")) >= 0:
            size = int(self.buffer[:line].split(b";")[0], 16)
            end = line + 2 + size
            if len(self.buffer) < end + 2:
                break
            pieces.append(self.buffer[line + 2 : end])
            self.buffer = self.buffer[end + 2 :]
            self.complete = size == 0
        return b"".join(pieces)


class Caller:
    """A blocking keep-alive connection for sequential timing."""

    def __init__(self, url: str) -> None:
        self.socket = socket.create_connection(address(url), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and read its whole answer: status and body. Raises ConnectionError when it is cut short."""
        self.socket.sendall(request)
        reply, pieces = Reply(), []
        while not reply.complete:
            data = self.socket.recv(RECEIVE)
            if not data:
                raise ConnectionError("closed in the middle of an answer")
            pieces.append(reply.feed(data))
        return reply.status, b"".join(pieces)

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()


class Wire(asyncio.Protocol):
    """An asyncio connection: one request at a time, its body pieces handed over as they come."""

    def __init__(self) -> None:
        self.reply = Reply()
        self.pieces: asyncio.Queue[bytes | None] = asyncio.Queue()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 — asyncio's own signature
        """Wake the reader; it sees that the answer is not complete."""
        self.pieces.put_nowait(None)

    def data_received(self, data: bytes) -> None:
        """Hand over the body bytes which arrived."""
        if piece := self.reply.feed(data):
            self.pieces.put_nowait(piece)
        if self.reply.complete:
            self.pieces.put_nowait(None)

    def send(self, request: bytes) -> None:
        """Send a request and forget the previous answer."""
        self.reply = Reply()
        self.transport.write(request)

    async def piece(self) -> bytes | None:
        """The next body bytes, or None at the end. Raises ConnectionError when the answer is cut short."""
        data = await self.pieces.get()
        if data is None and not self.reply.complete:
            raise ConnectionError("closed in the middle of an answer")
        return data


class Listener(asyncio.Protocol):
    """A connection for one streamed answer. While it comes, only its bytes are kept and its first event is noted.

    It is read once it is over: hundreds of streams read as they come would take the time of what is measured.
    """

    def __init__(self) -> None:
        self.over = asyncio.get_running_loop().create_future()
        self.raw: list[bytes] = []
        self.tail = b""
        self.chunked = True
        self.first = float("inf")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 — asyncio's own signature
        """Whatever came is all there is."""
        if not self.over.done():
            self.over.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Keep the bytes; look closer only where they may be the last."""
        if not self.raw:
            self.chunked = b"chunked" in data.lower()
        self.raw.append(data)
        if self.first == float("inf") and b"data: " in data:
            self.first = time.perf_counter()
        self.tail = (self.tail + data[-len(LAST) :])[-len(LAST) :]
        if (self.tail == LAST or not self.chunked) and self.read()[0].complete:
            self.over.set_result(None)

    def read(self) -> tuple[Reply, bytes]:
        """The answer so far, and its body."""
        reply = Reply()
        return reply, reply.feed(b"".join(self.raw))

    async def hear(self, request: bytes) -> tuple[Reply, bytes, float]:
        """Send a request; its answer, the body, and the milliseconds to its first event (infinite without one)."""
        began = time.perf_counter()
        self.transport.write(request)
        await self.over
        return *self.read(), (self.first - began) * 1e3


P = TypeVar("P", bound=asyncio.Protocol)


async def connect(url: str, kind: Callable[[], P]) -> P:
    """Open a connection to a URL's host."""
    host, port = address(url)
    _, wire = await asyncio.get_running_loop().create_connection(kind, host, port)
    return wire
