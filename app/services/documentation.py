"""The document and the page it is read on, as bytes made once: their versions, and compressed twins."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from hashlib import sha256
from importlib.resources import files
from typing import Final

import orjson

from app.spec.operations import Index

PAGE: Final = "docs.html"
MEDIA: Final[Mapping[str, str]] = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "png": "image/png",
}
# Swagger UI sets style attributes on what it draws and has its pictures inline; nothing comes from another host.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Text:
    """Bytes that do not change while the server runs. Every form of them has a strong tag of its own."""

    raw: bytes = field(repr=False)
    media_type: str

    @cached_property
    def digest(self) -> str:
        """What both tags are made of: the same in every worker."""
        return sha256(self.raw).hexdigest()[:32]

    @cached_property
    def zipped(self) -> bytes:
        """The same bytes whenever and wherever they are compressed."""
        return gzip.compress(self.raw, 6, mtime=0)

    def form(self, accepted: str) -> tuple[bytes, str, str]:
        """The bytes, their content coding (empty: none) and their tag, for an `Accept-Encoding`."""
        if not self.media_type.startswith("image/") and _takes_gzip(accepted):
            return self.zipped, "gzip", f'"{self.digest}-gzip"'
        return self.raw, "", f'"{self.digest}"'


def holds(tag: str, if_none_match: str | None) -> bool:
    """Whether the caller has this version already (RFC 9110 §13.1.2: the comparison is weak)."""
    if if_none_match is None:
        return False
    held = {candidate.strip().removeprefix("W/") for candidate in if_none_match.split(",")}
    return tag in held or "*" in held


@lru_cache(maxsize=8)
def document(index: Index) -> Text:
    """The document this worker runs by, as JSON."""
    return Text(orjson.dumps(index.document), "application/json")


@lru_cache(maxsize=16)
def asset(name: str) -> Text:
    """A file of the documentation page."""
    found = files("app") / "static" / "docs" / name
    return Text(found.read_bytes(), MEDIA[name.rsplit(".", 1)[1]])


def _takes_gzip(accepted: str) -> bool:
    """Whether gzip is accepted, and not with a weight of zero (RFC 9110 §12.5.3)."""
    for part in accepted.lower().split(","):
        coding, _, weight = (piece.strip() for piece in part.partition(";"))
        if coding in {"gzip", "*"}:
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
