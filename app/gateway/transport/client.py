"""The client: one request, one response, and one repetition where a kept connection had gone stale."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from app.gateway.transport.origins import locate, render
from app.gateway.transport.pool import Pool
from app.gateway.transport.resolver import Resolver
from app.gateway.transport.response import HttpResponse, StaleError
from app.gateway.wire import Outgoing


class HttpTransport:
    """One pool of connections for a worker. `allowed` is where guarded calls may go besides public addresses."""

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        self._allowed = tuple(allowed)
        self._pool: Pool | None = None

    async def start(self) -> None:
        """Make the pool."""
        self._pool = Pool(Resolver(self._allowed))

    async def stop(self) -> None:
        """Close every connection."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def __call__(self, outgoing: Outgoing, /) -> Awaitable[HttpResponse]:
        """The response, once its head is there; OSError when there is none, NotConnectedError when nothing was sent."""
        return self._send(outgoing, guarded=False)

    def guarded(self, outgoing: Outgoing, /) -> Awaitable[HttpResponse]:
        """The same for an address a user chose: ForbiddenAddressError, and no connection, when it is not public."""
        return self._send(outgoing, guarded=True)

    async def warm(self, url: str, count: int) -> int:
        """Open connections until so many are idle there: how many it took; NotConnectedError when one is not made."""
        pool = self._pool
        if pool is None:
            return 0
        origin, _ = locate(url)
        missing = max(0, count - pool.idle(origin))
        for _ in range(missing):
            pool.keep(await pool.connect(origin))
        return missing

    async def _send(self, outgoing: Outgoing, *, guarded: bool) -> HttpResponse:
        pool = self._pool
        if pool is None:
            raise RuntimeError("the transport was not started")
        origin, first_lines = locate(outgoing.url, guarded=guarded)
        request = render(first_lines, outgoing)
        kept = pool.take(origin)
        if kept is not None:
            try:
                return await kept.ask(request)
            except StaleError:  # closed by the other side just as it was used: it never saw this request
                pass
        fresh = await pool.connect(origin)
        return await fresh.ask(request)
