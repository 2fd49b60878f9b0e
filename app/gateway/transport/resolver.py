"""Names to addresses: looked up beside the loop, kept for half a minute, and checked where a user chose the name."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address
from typing import Final

from app.gateway.transport.origins import Origin
from app.gateway.wire import ForbiddenAddressError, NotConnectedError
from app.outbound.addresses import RefusedAddressError, refuse_private

KEPT_S: Final = 30.0
MOST_NAMES: Final = 1024
# Of its own: a name whose server never answers must not hold up what else runs in threads.
THREADS: Final = 4

Addresses = tuple[str, ...]


class Resolver:
    """The addresses of each origin asked for lately. One lookup serves all who wait for it; failures are not kept."""

    def __init__(self, allowed: Sequence[str] = (), kept: float = KEPT_S) -> None:
        self._allowed = tuple(allowed)
        self._kept = kept
        self._known: dict[Origin, tuple[float, asyncio.Task[Addresses]]] = {}
        self._threads = ThreadPoolExecutor(THREADS, "yardmaster-lookup")

    async def addresses(self, origin: Origin) -> Addresses:
        """Where the origin is, at least one; NotConnectedError, or ForbiddenAddressError if it must not be called."""
        now = asyncio.get_running_loop().time()
        expires, task = self._known.get(origin, (0.0, None))
        if task is None or expires <= now:
            task = self._begin(origin, now + self._kept)
        return await asyncio.shield(task)

    def forget(self, origin: Origin) -> None:
        """What is known of the origin was of no use."""
        self._known.pop(origin, None)

    def close(self) -> None:
        """Stop looking."""
        for _, task in self._known.values():
            task.cancel()
        self._known = {}
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, origin: Origin, expires: float) -> asyncio.Task[Addresses]:
        while len(self._known) >= MOST_NAMES:
            del self._known[next(iter(self._known))]
        task = asyncio.create_task(self._checked(origin) if origin.guarded else _found(origin))
        self._known[origin] = (expires, task)
        task.add_done_callback(partial(self._end, origin))
        return task

    def _end(self, origin: Origin, task: asyncio.Task[Addresses]) -> None:
        """Drop a failure; reading it here keeps it from being reported when nobody waits any more."""
        if (task.cancelled() or task.exception()) and self._known.get(origin, (0.0, None))[1] is task:
            del self._known[origin]

    async def _checked(self, origin: Origin) -> Addresses:
        """The addresses of a name a user chose, all of them public or allowed by the operator."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, refuse_private, origin.url, self._allowed)
        except RefusedAddressError as error:
            raise ForbiddenAddressError(str(error)) from None


async def _found(origin: Origin) -> Addresses:
    try:
        return (str(ip_address(origin.host)),)
    except ValueError:
        pass
    try:
        answers = await asyncio.get_running_loop().getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NotConnectedError("cannot connect: its host name does not resolve") from None
    return tuple(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in answers))
