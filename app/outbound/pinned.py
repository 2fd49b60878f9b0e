"""One HTTP request to addresses that were checked before, cut off for good when its time is over."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from threading import Thread, Timer
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection

T = TypeVar("T")
CHUNK: Final = 65_536


class Deadline:
    """A span of seconds. What is connected when it ends is shut, so that no peer can draw it out byte by byte."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self._ends

    def left(self) -> float:
        """Seconds left; TimeoutError when there are none."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    @contextmanager
    def guarding(self, connected: list[socket.socket]) -> Iterator[None]:
        """Shut the sockets in the list when the time is up; afterwards the list is closed in any case."""
        timer = Timer(self.left(), _shut, (connected,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            for sock in connected:
                sock.close()


def within(deadline: Deadline, call: Callable[[], T]) -> T:
    """The result of a call that nothing can interrupt, such as a look-up; TimeoutError when it takes too long.

    It then goes on in a thread of its own until it ends, and nobody hears of it.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:  # noqa: BLE001 (whoever waits gets it)
            outcome.set_exception(error)

    Thread(target=run, name="yardmaster-lookup", daemon=True).start()
    return outcome.result(deadline.left())


def _shut(connected: Iterable[socket.socket]) -> None:
    for sock in connected:
        with suppress(OSError):  # the peer was faster
            sock.shutdown(socket.SHUT_RDWR)


class _Pinned:
    """Connects to one of the checked addresses; host, SNI and certificate stay the URL's."""

    port: int

    def __init__(self, *args: Any, pin: Pin, **options: Any) -> None:
        self._pin = pin
        super().__init__(*args, **options)

    def _new_conn(self) -> socket.socket:
        return self._pin.connect(self.port)


class _PinnedHTTP(_Pinned, HTTPConnection):
    """Over plain TCP."""


class _PinnedHTTPS(_Pinned, HTTPSConnection):
    """Over TLS, with the certificate checked against the system's authorities."""


class _HTTP(HTTPConnectionPool):
    ConnectionCls = _PinnedHTTP


class _HTTPS(HTTPSConnectionPool):
    ConnectionCls = _PinnedHTTPS


class Pin:
    """The addresses of a host, and what was connected to them within a deadline."""

    def __init__(self, addresses: Iterable[str], deadline: Deadline) -> None:
        self._addresses = tuple(addresses)
        self._deadline = deadline
        self.connected: list[socket.socket] = []

    def connect(self, port: int) -> socket.socket:
        """A connection to the first address that takes one; OSError when none does, TimeoutError when time is up."""
        failure: OSError = ConnectionError("there is no address")
        for address in self._addresses:
            try:
                sock = socket.create_connection((address, port), self._deadline.left())
            except OSError as error:
                failure = error
                continue
            # A copy: TLS takes the first over, and would leave nothing to shut.
            self.connected.append(sock.dup())
            self._deadline.left()  # nothing would shut what was connected after the time was up
            return sock
        raise failure


@contextmanager
def request(
    url: str, addresses: Iterable[str], headers: Mapping[str, str], deadline: Deadline, body: bytes | None = None
) -> Iterator[BaseHTTPResponse]:
    """The answer to GET, or to POST with a body, itself still to be read.

    urllib3's HTTPError, OSError or TimeoutError without one.

    Follows no redirect, asks no proxy and no resolver, keeps no connection and no cookie.
    """
    parts = urlsplit(url)
    pin = Pin(addresses, deadline)
    pool_class = _HTTPS if parts.scheme == "https" else _HTTP
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    pool = pool_class(str(parts.hostname), parts.port, timeout=Timeout(deadline.left()), retries=False, pin=pin)
    with pool, deadline.guarding(pin.connected):
        method = "GET" if body is None else "POST"
        response = pool.urlopen(method, target, body, headers=headers, redirect=False, preload_content=False)
        try:
            yield response
        finally:
            response.close()


def read(response: BaseHTTPResponse, most: int, deadline: Deadline) -> tuple[bytes, bool]:
    """The body, unpacked, up to so many bytes, and whether that is all of it; errors as `request`."""
    body = bytearray()
    while len(body) <= most and (chunk := response.read1(CHUNK, decode_content=True)):
        deadline.left()
        body += chunk
    deadline.left()  # a body without a length that was shut looks like one that ended
    return bytes(body[:most]), len(body) <= most
