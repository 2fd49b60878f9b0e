"""Web addresses as people write them: the host, and one canonical form."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

import idna

SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*:(?!\d)", re.IGNORECASE)
PORTS: Final = {"http": 80, "https": 443}
LONGEST: Final = 2_048
LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
LONGEST_HOST: Final = 253
NUMERIC: Final = re.compile(r"[0-9.]+|\[[0-9a-f:.]+\]")
ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
UNRESERVED: Final = frozenset(map(ord, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"))
# What a path or a query may hold as it is (RFC 3986 §3.3 and §3.4), and the mark of what is escaped already.
PLAIN: Final = "!$&'()*+,;=:@/%"


def host(text: str) -> str:
    """The host of an address with or without a scheme, in lower case and without www.; empty when it has none."""
    parts = _split(text)
    return ((parts.hostname or "") if parts else "").removeprefix("www.")


def absolute(text: str) -> list[str]:
    """The canonical addresses to try: the one written, or over HTTPS and then HTTP when it names no scheme."""
    if SCHEME.match(text.strip()):
        found = [canonical(text)]
    else:
        found = [canonical(f"{scheme}://{text.strip().lstrip('/')}") for scheme in ("https", "http")]
    return [url for url in found if url]


def canonical(text: str) -> str | None:
    """An http(s) address in one form (RFC 3986 §6.2.2 and §6.2.3); None when it is none.

    Lower-case scheme and IDNA host, no default port, no dot segments, unreserved characters unescaped, no fragment and
    at least the path /. An address without a scheme is one over HTTPS.
    """
    parts = _split(text)
    name = ascii_host(parts.hostname or "") if parts else None
    if parts is None or name is None or parts.scheme not in PORTS or parts.username is not None:
        return None
    port = "" if parts.port in (None, PORTS[parts.scheme]) else f":{parts.port}"
    path = _without_dots(escaped(parts.path or "/", PLAIN))
    query = escaped(parts.query)
    return urlunsplit((parts.scheme, name + port, path, query, ""))


def ascii_host(name: str) -> str | None:
    """A host name in lower-case ASCII (UTS #46 and RFC 5891); None when it can be none."""
    name = name.lower().rstrip(".")
    if ":" in name:
        return f"[{name}]" if NUMERIC.fullmatch(f"[{name}]") else None
    try:
        written = name if name.isascii() else idna.encode(name, uts46=True).decode().lower()
    except (idna.IDNAError, UnicodeError):
        return None
    valid = 0 < len(written) <= LONGEST_HOST and all(LABEL.fullmatch(label) for label in written.split("."))
    return written if valid else None


def _split(text: str) -> SplitResult | None:
    text = text.strip()
    if not text or len(text) > LONGEST or re.search(r"[\s\\\x00-\x1f\x7f]", text):
        return None
    try:
        parts = urlsplit(text if SCHEME.match(text) else f"https://{text.lstrip('/')}")
        usable = parts.port != 0
    except ValueError:
        return None
    return parts if usable else None


def escaped(text: str, safe: str = PLAIN + "?") -> str:
    """A path or query, percent-encoded as UTF-8 where it must be, and nowhere else."""
    once = ESCAPE.sub(lambda m: chr(c) if (c := int(m[1], 16)) in UNRESERVED else f"%{m[1].upper()}", text)
    # A percent sign that begins no escape stands for itself.
    return quote(re.sub(r"%(?![0-9A-F]{2})", "%25", once), safe=safe)


def _without_dots(path: str) -> str:
    """An absolute path without . and .. segments (RFC 3986 §5.2.4)."""
    _, *segments = path.split("/")
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    return "/" + "/".join([*kept, ""] if segments[-1] in {".", ".."} else kept)
