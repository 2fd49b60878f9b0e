"""HTTP to providers: pooled connections, one immediate retry of one that had gone stale, exact cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import aiohttp

from app.gateway.wire import NotConnectedError, Outgoing

CONNECT_S = 5.0
KEEPALIVE_S = 55.0
MOST_BYTES = 64 * 1024 * 1024


class HttpResponse:
    """A provider's response over HTTP."""

    __slots__ = ("_response",)

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The response headers, found in any case."""
        return self._response.headers

    async def read(self) -> bytes:
        """The whole body; OSError when the connection broke or the body never ends."""
        try:
            return await self._response.read()
        except aiohttp.ClientError as error:
            raise ConnectionError("the connection broke before the answer was complete") from error

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives; OSError when the connection broke."""
        try:
            async for data in self._response.content.iter_any():
                yield data
        except aiohttp.ClientError as error:
            raise ConnectionError("the connection broke in the middle of the stream") from error

    async def close(self) -> None:
        """Give the connection back when it was read to its end, else close it, which tells the provider to stop."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class HttpTransport:
    """One pool of connections for a worker."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Make the pool."""
        connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=30, keepalive_timeout=KEEPALIVE_S)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )

    async def stop(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def __call__(self, outgoing: Outgoing, /) -> HttpResponse:
        """The response, once its head is there; OSError when there is none."""
        try:
            return HttpResponse(await self._post(outgoing))
        except aiohttp.ServerDisconnectedError:
            return await self._again(outgoing)
        except (aiohttp.ClientError, asyncio.IncompleteReadError) as error:
            raise _as_os_error(error) from error

    async def _again(self, outgoing: Outgoing) -> HttpResponse:
        """A kept-alive connection may be closed by the other side just as it is used: no byte was answered."""
        try:
            return HttpResponse(await self._post(outgoing))
        except aiohttp.ClientError as error:
            raise _as_os_error(error) from error

    async def _post(self, outgoing: Outgoing) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("the transport was not started")
        return await self._session.post(
            outgoing.url, data=outgoing.body, headers=outgoing.headers, allow_redirects=False
        )


def _as_os_error(error: Exception) -> OSError:
    """What went wrong, without the address: it is the operator's affair."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return NotConnectedError("cannot connect")
    return ConnectionError("the connection broke")
