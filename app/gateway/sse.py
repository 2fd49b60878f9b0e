"""Server-sent events: an incremental parser for what providers send, and encoders for what we send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

Event = tuple[str, bytes]

DONE: Final = b"data: [DONE]\n\n"
LIMIT: Final = 16 * 1024 * 1024
_BOM: Final = b"\xef\xbb\xbf"


class OverlongEventError(ValueError):
    """One event grew past the limit; the rest of the stream cannot be trusted."""


class Parser:
    """Turns bytes, cut anywhere, into events (HTML Living Standard §9.2.6).

    Line ends may be LF, CRLF or CR, even cut in two. Comments, `id` and `retry` are skipped. Data stays bytes: a cut
    inside a UTF-8 character can then do no harm. `limit` bounds one event, in bytes.
    """

    __slots__ = ("_after_cr", "_data", "_event", "_fresh", "_limit", "_size", "_tail")

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._tail: list[bytes] = []
        self._data: list[bytes] = []
        self._event = ""
        self._size = 0
        self._after_cr = False
        self._fresh = True

    def feed(self, data: bytes) -> list[Event]:
        """The events completed by these bytes, as (name, data); OverlongEventError past the limit."""
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if b"\n" not in data and b"\r" not in data:
            self._tail.append(data)
            self._grow(len(data))
            return []
        self._after_cr = data.endswith(b"\r")
        return self._events(self._lines(data))

    def end(self) -> list[Event]:
        """The event a server left without its closing blank line, if it did."""
        return self._events([*self._lines(b"\n"), b""])

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > self._limit:
            raise OverlongEventError(f"an event is longer than {self._limit} bytes")

    def _lines(self, data: bytes) -> list[bytes]:
        """The complete lines; what follows the last line end stays behind as the tail."""
        if self._tail:
            data = b"".join((*self._tail, data))
        if self._fresh:
            self._fresh = False
            data = data.removeprefix(_BOM)
        lines = data.splitlines()
        self._tail = [] if data.endswith((b"\n", b"\r")) else [lines.pop()]
        return lines

    def _events(self, lines: list[bytes]) -> list[Event]:
        events: list[Event] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif not line:
                self._dispatch(events)
            else:
                self._field(line)
        self._size = 0
        self._grow(sum(map(len, self._tail)) + sum(map(len, self._data)) + len(self._data))
        return events

    def _dispatch(self, events: list[Event]) -> None:
        if self._data:
            data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
            events.append((self._event or "message", data))
            self._data = []
        self._event = ""

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"event":
            self._event = value.removeprefix(b" ").decode("utf-8", "replace")
        elif name == b"data":
            self._data.append(b"")


def data(payload: Mapping[str, Any]) -> bytes:
    """One event carrying JSON."""
    return b"data: %b\n\n" % orjson.dumps(payload)


def event(name: str, payload: Mapping[str, Any]) -> bytes:
    """One named event carrying JSON; the name holds no line end."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(payload))


def comment(text: str = "") -> bytes:
    """A comment, which every client skips: a keep-alive, or the first bytes that flush the head."""
    return b": %b\n\n" % " ".join(text.split()).encode()


def error(message: str, *, kind: str | None = None, code: str | None = None, param: str | None = None) -> bytes:
    """The frame that ends a broken stream, in the envelope OpenAI's clients raise on."""
    return data({"error": {"message": message, "type": kind, "param": param, "code": code}})
