"""Where a request goes and how it begins: URLs read once, requests written as bytes."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from app.gateway.wire import NotConnectedError, Outgoing

PORTS: Final = {"http": 80, "https": 443}
# A URL that two parsers read differently is how such things are abused: no control, space, backslash or non-ASCII.
_PLAIN: Final = re.compile(r"[!-\[\]-~]{1,8192}")
_FIELDS: Final = re.compile(r"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t -~\x80-\xff]*\r\n)*")


class Origin(NamedTuple):
    """What connections are kept apart by. A `guarded` one may lead to public addresses only."""

    scheme: str
    host: str
    port: int
    guarded: bool = False

    @property
    def url(self) -> str:
        """The origin as a URL."""
        return f"{self.scheme}://{_bracketed(self.host)}:{self.port}"


@lru_cache(maxsize=4096)
def locate(url: str, *, guarded: bool = False) -> tuple[Origin, bytes]:
    """The origin of a URL and the first lines of a request to it; NotConnectedError when it is not ours to call."""
    try:
        parts = urlsplit(url) if _PLAIN.fullmatch(url) else None
        port = parts.port if parts else None
    except ValueError:
        parts, port = None, None
    if parts is None or parts.scheme not in PORTS or not parts.hostname or "@" in parts.netloc or port == 0:
        raise NotConnectedError("its address is no plain http or https URL")
    origin = Origin(parts.scheme, parts.hostname.removesuffix("."), port or PORTS[parts.scheme], guarded)
    return origin, _first_lines(parts, origin)


def _first_lines(parts: SplitResult, origin: Origin) -> bytes:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    named = _bracketed(origin.host) + ("" if origin.port == PORTS[origin.scheme] else f":{origin.port}")
    return f"POST {target} HTTP/1.1\r\nhost: {named}\r\n".encode("ascii")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def render(first_lines: bytes, outgoing: Outgoing) -> bytes:
    """The whole request; NotConnectedError for a header that would break out of its line."""
    fields = "".join([f"{name}: {value}\r\n" for name, value in outgoing.headers.items()])
    if _FIELDS.fullmatch(fields) is None or fields.count("\n") != len(outgoing.headers):
        raise NotConnectedError("a header of the request holds characters no header can carry")
    body = outgoing.body
    return b"%b%bcontent-length: %d\r\n\r\n%b" % (first_lines, fields.encode("latin-1"), len(body), body)
