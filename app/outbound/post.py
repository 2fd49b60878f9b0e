"""One POST to an address somebody else chose: checked at every call, bounded in time and bytes, without redirects."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError
from urllib3.exceptions import SSLError as TLSError

from app.outbound import pinned
from app.outbound.addresses import PORTS, RefusedAddressError, allowance, host_of, refuse_private, split_url
from app.outbound.pinned import Deadline
from app.outbound.web_addresses import canonical

TIMEOUT_S: Final = 10.0
LOOK_UP_S: Final = 5.0
MOST_READ: Final = 1_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. `status` None: no answer, and `error` says why in words that name no address."""

    status: int | None
    error: str = ""
    excerpt: bytes = field(default=b"", repr=False)
    retry_after: str = ""
    latency_ms: int = 0


def usable(url: str, allowed: Sequence[str]) -> str:
    """The canonical address, once it was found fit to be called; RefusedAddressError says why it is not.

    Looks the host up, which may take seconds: ask outside a transaction. Without TLS only what the operator allows.
    """
    found = canonical(url) if "://" in url and "#" not in url else None
    if found is None:
        raise RefusedAddressError("it must be an absolute http or https URL without credentials or fragment")
    try:
        _addresses(found, allowed, Deadline(LOOK_UP_S))
    except TimeoutError:
        raise RefusedAddressError("its host cannot be looked up") from None
    return found


def post(
    url: str, headers: Mapping[str, str], body: bytes, allowed: Sequence[str], seconds: float = TIMEOUT_S
) -> Outcome:
    """Send the body; the answer's first bytes are read, and no more of it."""
    began, deadline = time.monotonic(), Deadline(seconds)
    try:
        addresses = _addresses(url, allowed, deadline)
        with pinned.request(url, addresses, headers, deadline, body) as response:
            told = Outcome(response.status, "", _excerpt(response, deadline), response.headers.get("retry-after", ""))
    except RefusedAddressError as error:
        told = Outcome(None, str(error))
    except (HTTPError, OSError, ValueError) as error:
        told = Outcome(None, f"no answer within {seconds:g} s" if deadline.over else _why(error))
    took = round((time.monotonic() - began) * 1000)
    return Outcome(told.status, told.error, told.excerpt, told.retry_after, took)


def _excerpt(response: BaseHTTPResponse, deadline: Deadline) -> bytes:
    """How the answer begins; its status counts, whether or not the rest of it can be read."""
    try:
        return pinned.read(response, MOST_READ, deadline)[0]
    except (HTTPError, OSError, ValueError):
        return b""


def _addresses(url: str, allowed: Sequence[str], deadline: Deadline) -> tuple[str, ...]:
    """The checked addresses of the URL's host."""
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    found = pinned.within(deadline, partial(refuse_private, origin, allowed))
    if parts.scheme == "http" and not _allowed(origin, found, allowed):
        raise RefusedAddressError("it must be https, unless the operator allows its host")
    return found


def _allowed(origin: str, addresses: Sequence[str], allowed: Sequence[str]) -> bool:
    parts = split_url(origin)
    host, port = host_of(parts), parts.port or PORTS[parts.scheme]
    entries = [allowance(entry) for entry in allowed]
    if any(entry.admits_host(host, port) for entry in entries):
        return True
    return all(any(e.admits_address(ip_address(address), port) for e in entries) for address in addresses)


def _why(error: Exception) -> str:
    """The kind of failure only: its text may hold an address."""
    if isinstance(error, TLSError):
        return "its certificate is not accepted"
    return "no connection, or one that broke off"
