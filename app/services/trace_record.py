"""One finished model call as plain data, and the spool line it survives a crash in."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from zlib import crc32

import orjson

from app.wire.identifiers import ordered

NONE: Mapping[str, Any] = MappingProxyType({})
CHECK_DIGITS = 8


def trace_id() -> str:
    """A new trace id: `tr_` and 32 hex digits.

    The first twelve are the time in milliseconds, as in a UUID of version 7 (RFC 9562 §5.7): ids made in order are
    stored in order, where random ones would touch a page of the index each.
    """
    return f"tr_{ordered():032x}"


class TraceRecord(NamedTuple):
    """Everything a trace and its bodies hold, in the order of the spool line.

    `created_at` is microseconds since the epoch, `*_us` are microseconds, `*_nano` are nano-dollars; `cost_nano` None
    means that the price is not known. `status` is ok, error or cache_hit. Bodies come already cut and redacted.
    A field added later goes last and has a default, so that lines of an older release still read.
    """

    id: str
    created_at: int
    request_id: str
    operation: str
    provider: str
    model: str
    status: str
    parent_id: str | None = None
    service: str = "proxy"
    http_status: int = 200
    error: str | None = None
    stream: bool = False
    attempts: int = 1
    duration_us: int = 0
    first_byte_us: int | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    tokens_reasoning: int = 0
    usage_source: str = "reported"
    cost_nano: int | None = None
    saved_nano: int = 0
    user_id: int | None = None
    key_id: int | None = None
    project: str = "default"
    source: str = "real"
    tags: Mapping[str, str] = NONE
    details: Mapping[str, Any] = NONE
    request_body: bytes | None = None
    response_body: bytes | None = None

    def to_line(self) -> bytes:
        """A checksum and a JSON array on one line; TypeError when a value is not JSON or text is not Unicode."""
        values: list[Any] = list(self)
        values[_TAGS], values[_DETAILS] = dict(self.tags), dict(self.details)
        # Latin-1 maps any byte to one character, so a body cut inside a character survives unharmed.
        for at in _BODIES:
            if values[at] is not None:
                values[at] = values[at].decode("latin-1")
        data = orjson.dumps(values)
        return b"%08x %b\n" % (crc32(data), data)

    @classmethod
    def from_line(cls, line: bytes) -> TraceRecord:
        """The record of a line, its final newline optional; ValueError when it is torn or altered."""
        check, _, data = line.rstrip(b"\n").partition(b" ")
        if len(check) != CHECK_DIGITS or int(check, 16) != crc32(data):
            raise ValueError("the line does not match its checksum")
        values = orjson.loads(data)
        for at in _BODIES:
            if len(values) > at and values[at] is not None:
                values[at] = values[at].encode("latin-1")
        try:
            return cls(*values)
        except TypeError as error:
            raise ValueError("the line has another number of fields") from error

    def __repr__(self) -> str:
        """Its name and outcome; never bodies, tags or details, which hold what users wrote."""
        return f"TraceRecord(id={self.id!r}, model={self.model!r}, status={self.status!r})"


_TAGS, _DETAILS = map(TraceRecord._fields.index, ("tags", "details"))
_BODIES = tuple(at for at, name in enumerate(TraceRecord._fields) if name.endswith("_body"))
