"""HTTP/1.1 as the workers read it: uvicorn's protocol, with bounds on the size of a head and the time it may take.

Everything happens on the one thread of the event loop. A server whose parser runs in threads of its own pays several
hand-overs between threads for each request, which is most of what a gateway's call costs at one connection.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.server.cycle import Cycle
from app.wire.replies import WHOLE

MOST_HEAD_BYTES = 65_536
HEAD_WITHIN_S = 30.0
# How long a refused client is still listened to, so that it reads the refusal, and an idle one when the server ends.
LINGER_S = 0.5


class HeadTooLargeError(Exception):
    """The request line and headers are beyond `MOST_HEAD_BYTES`."""


class Protocol(HttpToolsProtocol):
    """One connection. A head too large is answered 431, one too slow 408; both end the connection (RFC 9110 §15.5)."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._idle_since = 0.0
        self._refused = self._ending = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client that says nothing at all is not waited for longer than one that is slow."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_WITHIN_S, self._refuse, 408)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop_timer()
        super().connection_lost(exc)
        if self.timeout_keep_alive_task:
            self.timeout_keep_alive_task.cancel()

    def data_received(self, data: bytes) -> None:
        """Read on; a head that is not whole yet is waited for."""
        if self._refused or self.transport.is_closing():
            return
        super().data_received(data)
        if self._head_bytes and not self._head_timer and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(HEAD_WITHIN_S, self._refuse, 408)

    def on_url(self, url: bytes) -> None:
        """A part of the request line."""
        super().on_url(url)
        self._head_bytes += len(url)
        if self._head_bytes > MOST_HEAD_BYTES:
            raise HeadTooLargeError

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MOST_HEAD_BYTES:
            raise HeadTooLargeError

    def on_headers_complete(self) -> None:
        """The head is whole: serve the request, after those that came before it on this connection."""
        self._head_bytes = 0
        self._stop_timer()
        self._complete_scope()
        before, self.cycle = self.cycle, self._cycle()
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _complete_scope(self) -> None:
        """What the request line says; HttpParserError, which is answered 400, for a target that is none."""
        version, url, scope = self.parser.get_http_version(), self.url, self.scope
        if not url.startswith(b"/") or b"#" in url:  # the absolute form (RFC 9112 §3.2.2), or one of the rare others
            parsed = httptools.parse_url(url)
            path, query = parsed.path or b"/", parsed.query or b""
        else:
            path, _, query = url.partition(b"?")
        scope["http_version"] = version
        scope["extensions"] = {WHOLE: {}}
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["raw_path"], scope["query_string"] = path, query
        scope["path"] = unquote(path.decode("ascii"))

    def _cycle(self) -> Cycle:
        return Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=None,  # type: ignore[arg-type]  # a cycle is its own event
            expect_100_continue=self.expect_100_continue,
            keep_alive=not self._ending and self.scope["http_version"] != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )

    def on_response_complete(self) -> None:
        """An answer is written: the next request's turn, or rest. One timer serves all rests of a connection."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that has rested too long; look again later where it has not."""
        self.timeout_keep_alive_task = None
        if not self._idle_since:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        elif not self.transport.is_closing():
            self.transport.close()

    def _unset_keepalive_if_required(self) -> None:
        """The rest is over; its timer finds that out by itself."""
        self._idle_since = 0.0

    def shutdown(self) -> None:
        """The server ends: a request that is on its way at this moment is answered still."""
        self._ending = True
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(LINGER_S, super().shutdown)
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Refuse what is no HTTP, or too much of it."""
        self._refuse(431 if self._head_bytes > MOST_HEAD_BYTES else 400)

    def _refuse(self, status: int) -> None:
        """Say why, then hang up gently: closing on unread bytes would reset the connection and lose the answer."""
        self._stop_timer()
        if not self.transport.is_closing():
            self._refused = True
            self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.write_eof()
            self.loop.call_later(LINGER_S, self.transport.close)

    def _stop_timer(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None
