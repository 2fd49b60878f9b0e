"""One request and its answer on a connection: uvicorn's cycle, with each answer's head and body in one write."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from app.wire.replies import WHOLE, Message, RawHeaders

# RFC 9110 §5.5: no control but the tab belongs in a field.
_PRINTABLE: Final = bytes(byte for byte in range(256) if byte == 9 or (byte >= 32 and byte != 127))  # noqa: PLR2004
_COLON: Final = b": ".join
_DISCONNECT: Final = {"type": "http.disconnect"}
BODILESS: Final = frozenset({204, 304})


class Cycle(RequestResponseCycle):
    """A request read, and an answer written, as ASGI has it.

    A head waits for the first piece of its body, or for the loop's next turn when it is not known how long that takes.
    What a request never needs is not made for it: an event to wait on, a regular expression for each header.
    """

    _arrived = False
    _event: asyncio.Event | None = None
    _head = b""

    @property  # type: ignore[override]
    def message_event(self) -> Cycle:
        """What uvicorn's connection tells that something arrived."""
        return self

    @message_event.setter
    def message_event(self, _: object) -> None:
        """Keeps nothing: a cycle is its own event."""

    def set(self) -> None:
        """Something arrived, or the connection ended."""
        self._arrived = True
        if self._event is not None:
            self._event.set()

    async def receive(self) -> Message:  # type: ignore[override]
        """The next piece of the request's body; `http.disconnect` when nobody listens any more."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not self.disconnected and not self.response_complete:
            self.flow.resume_reading()
            if not self._arrived:
                self._event = self._event or asyncio.Event()
                self._event.clear()
                await self._event.wait()
            self._arrived = False
        if self.disconnected or self.response_complete:
            return dict(_DISCONNECT)
        body, self.body = bytes(self.body), bytearray()
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: Message) -> None:  # type: ignore[override]
        """Write a message; RuntimeError for one out of turn, or an answer of another length than its head says."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if kind == WHOLE and not self.response_started:
            self._begin(message["status"], message["headers"])
            self._go_on(message["body"], last=True)
        elif kind == "http.response.start" and not self.response_started:
            self._begin(message["status"], message.get("headers", ()))
        elif kind == "http.response.body" and self.response_started and not self.response_complete:
            self._go_on(message.get("body", b""), last=not message.get("more_body", False))
        else:
            raise RuntimeError(f"the message {kind} is out of turn")

    def _begin(self, status: int, headers: Any) -> None:
        """Render the head, and choose how the body is delimited (RFC 9112 §6)."""
        fields: RawHeaders = [*self.default_headers, *headers]
        named = dict(fields)
        self._choose_framing(named, status)
        if not self.keep_alive or b"close" in named.get(b"connection", b"").lower():
            self.keep_alive = False
            fields = [(b"connection", b"close"), *(f for f in fields if f[0] != b"connection")]
        if self.chunked_encoding and b"transfer-encoding" not in named:
            fields.append((b"transfer-encoding", b"chunked"))
        self._head = STATUS_LINE[status] + _rendered(fields)
        self.response_started = True
        self.waiting_for_100_continue = False
        if self.chunked_encoding:
            asyncio.get_running_loop().call_soon(self._flush)

    def _choose_framing(self, named: dict[bytes, bytes], status: int) -> None:
        length = named.get(b"content-length")
        if length is not None:
            self.chunked_encoding, self.expected_content_length = False, int(length)
        elif status not in BODILESS and self.scope["method"] != "HEAD":
            self.chunked_encoding = True

    def _flush(self) -> None:
        """Write the head that nothing came after yet."""
        head, self._head = self._head, b""
        if head and not self.disconnected and not self.transport.is_closing():
            self.transport.write(head)

    def _go_on(self, body: bytes, *, last: bool) -> None:
        head, self._head = self._head, b""
        data = head + self._framed(body, last=last)
        if data:
            self.transport.write(data)
        if last:
            self._finish()

    def _framed(self, body: bytes, *, last: bool) -> bytes:
        """A piece of the body as it goes on the wire."""
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
            return b""
        if self.chunked_encoding:
            return (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"0\r\n\r\n" if last else b"")
        self.expected_content_length -= len(body)
        if self.expected_content_length < 0:
            raise RuntimeError("the answer is longer than its Content-Length")
        return body

    def _finish(self) -> None:
        if self.expected_content_length:
            raise RuntimeError("the answer is shorter than its Content-Length")
        self.response_complete = True
        self.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


def _rendered(fields: RawHeaders) -> bytes:
    """The fields and the blank line after them; RuntimeError for one that would break out of its line."""
    count = len(fields)
    lines = b"\r\n".join(map(_COLON, fields))
    if lines.translate(None, _PRINTABLE) != b"\r\n" * (count - 1):
        raise RuntimeError("a header of the answer holds characters no header can carry")
    return lines + b"\r\n\r\n" if count else b"\r\n"
