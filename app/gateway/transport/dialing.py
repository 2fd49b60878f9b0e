"""Making connections: the quickest of a host's addresses, and TLS with a checked certificate."""

from __future__ import annotations

import asyncio
import socket
import ssl
from asyncio.staggered import staggered_race
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from itertools import chain, zip_longest
from typing import Final, TypeVar

from app.gateway.transport.origins import Origin
from app.gateway.wire import NotConnectedError

HEAD_START_S: Final = 0.25

P = TypeVar("P", bound=asyncio.Protocol)


async def dial(origin: Origin, addresses: Sequence[str], protocol: Callable[[], P]) -> P:
    """A connected protocol at one of these addresses and nowhere else; NotConnectedError, which names no address."""
    opened = await _connected(addresses, origin.port)
    secure = origin.scheme == "https"
    try:
        _, made = await asyncio.get_running_loop().create_connection(
            protocol, sock=opened, ssl=_tls() if secure else None, server_hostname=origin.host if secure else None
        )
    except BaseException as error:
        opened.close()
        raise _as_not_connected(error) from error
    return made


def _as_not_connected(error: BaseException) -> BaseException:
    if isinstance(error, ssl.SSLCertVerificationError):
        return NotConnectedError("the TLS certificate was not accepted")
    if isinstance(error, OSError):
        return NotConnectedError("the TLS handshake failed")
    return error


@cache
def _tls() -> ssl.SSLContext:
    """The system's trusted authorities (or those SSL_CERT_FILE names), host names checked, read on first use."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


async def _connected(addresses: Sequence[str], port: int) -> socket.socket:
    """A socket to the first address that answers, each having a head start on the next (RFC 8305 §5)."""
    tried: list[socket.socket] = []
    winner: socket.socket | None = None
    try:
        if len(addresses) == 1:  # a race of one costs more than the connection
            with suppress(OSError):
                winner = await _try(addresses[0], port, tried)
        else:
            attempts = [partial(_try, address, port, tried) for address in _alternating(addresses)]
            winner, _, _ = await staggered_race(attempts, HEAD_START_S)
    finally:
        for other in tried:
            if other is not winner:
                other.close()
    if winner is None:
        raise NotConnectedError("cannot connect")
    return winner


async def _try(address: str, port: int, tried: list[socket.socket]) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    tried.append(made)
    made.setblocking(False)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await asyncio.get_running_loop().sock_connect(made, (address, port))
    return made


def _alternating(addresses: Sequence[str]) -> list[str]:
    """The addresses with the families taking turns, the resolver's first choice first (RFC 8305 §4)."""
    first = [a for a in addresses if (":" in a) is (":" in addresses[0])]
    other = [a for a in addresses if (":" in a) is not (":" in addresses[0])]
    return [a for a in chain.from_iterable(zip_longest(first, other)) if a is not None]
