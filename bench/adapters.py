"""HTTP clients dressed alike: post a completion, stream one, close. `Raw` is the hand-written floor, not a choice."""

from __future__ import annotations

from collections import defaultdict
from contextlib import aclosing
from itertools import chain
from typing import TYPE_CHECKING, Protocol

import aiohttp
import httpx
import orjson
from pyreqwest.client import ClientBuilder

from bench.http1 import Wire, connect, render

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

BODY = orjson.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "When is the train due?"}]})
STREAM = BODY[:-1] + b',"stream":true,"stream_options":{"include_usage":true}}'
HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer bench"}


class Client(Protocol):
    """What a gateway asks of its upstream client."""

    async def post(self, url: str) -> bytes:
        """Post the plain body; the whole answer."""

    def stream(self, url: str) -> AsyncGenerator[bytes, None]:
        """Post the stream body; the answer's pieces as they arrive. Closing the iterator closes the response."""

    async def close(self) -> None:
        """Release every connection."""


class Aiohttp:
    """aiohttp with what a proxy does not need turned off."""

    def __init__(self) -> None:
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=60),
            headers=HEADERS,
        )

    async def post(self, url: str) -> bytes:
        """Post the plain body."""
        async with self.session.post(url, data=BODY) as response:
            return await response.read()

    async def stream(self, url: str) -> AsyncGenerator[bytes, None]:
        """Post the stream body."""
        async with self.session.post(url, data=STREAM) as response:
            async for piece in response.content.iter_any():
                yield piece

    async def close(self) -> None:
        """Close the session."""
        await self.session.close()


class Pyreqwest:
    """pyreqwest: reqwest and tokio on a thread of their own."""

    def __init__(self, *, threads: bool = False) -> None:
        builder = ClientBuilder().default_headers(HEADERS).runtime_multithreaded(threads)
        self.client = builder.build()

    async def post(self, url: str) -> bytes:
        """Post the plain body."""
        response = await self.client.post(url).body_bytes(BODY).build().send()
        return bytes(await response.bytes())

    async def stream(self, url: str) -> AsyncGenerator[bytes, None]:
        """Post the stream body."""
        async with self.client.post(url).body_bytes(STREAM).streamed_read_buffer_limit(0).build_streamed() as response:
            while (piece := await response.body_reader.read_chunk()) is not None:
                yield bytes(piece)

    async def close(self) -> None:
        """Close the client."""
        await self.client.close()


class Httpx:
    """httpx, for reference."""

    def __init__(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=1024)
        self.client = httpx.AsyncClient(limits=limits, timeout=60, headers=HEADERS, trust_env=False)

    async def post(self, url: str) -> bytes:
        """Post the plain body."""
        return (await self.client.post(url, content=BODY)).content

    async def stream(self, url: str) -> AsyncGenerator[bytes, None]:
        """Post the stream body."""
        async with self.client.stream("POST", url, content=STREAM) as response:
            async for piece in response.aiter_raw():
                yield piece

    async def close(self) -> None:
        """Close the client."""
        await self.client.aclose()


class Raw:
    """The floor: a free list of hand-written connections, no timeouts, no redirects, nothing."""

    def __init__(self) -> None:
        self.idle: defaultdict[str, list[Wire]] = defaultdict(list)

    async def stream(self, url: str) -> AsyncGenerator[bytes, None]:
        """Post the stream body."""
        async with aclosing(self._exchange(url, STREAM)) as pieces:
            async for piece in pieces:
                yield piece

    async def post(self, url: str) -> bytes:
        """Post the plain body."""
        return b"".join([piece async for piece in self._exchange(url, BODY)])

    async def _exchange(self, url: str, body: bytes) -> AsyncGenerator[bytes, None]:
        wire = self.idle[url].pop() if self.idle[url] else await connect(url, Wire)
        try:
            wire.send(render(url, HEADERS, body))
            while (piece := await wire.piece()) is not None:
                yield piece
        finally:
            self.idle[url].append(wire) if wire.reply.complete else wire.transport.abort()

    async def close(self) -> None:
        """Close the idle connections."""
        for wire in chain.from_iterable(self.idle.values()):
            wire.transport.close()


CLIENTS: dict[str, Callable[[], Client]] = {
    "pyreqwest": Pyreqwest,
    "pyreqwest mt": lambda: Pyreqwest(threads=True),
    "aiohttp": Aiohttp,
    "httpx": Httpx,
    "raw": Raw,
}
