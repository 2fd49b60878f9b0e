"""A provider on loopback: a real HTTP server that answers with fixtures and remembers what it was asked."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from tests.gateway.conformance.capabilities import Case


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived; header names in lower case."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are written apart: waiting for an ACK would cost 40 ms a request
    server: _Server

    def do_POST(self) -> None:
        """Answer with the stream when one is asked for, else with the plain body."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.received.append(Received(self.path, headers, body))
        if body.get("stream") or "streamGenerateContent" in self.path:
            self._stream(self.server.case.stream or b"")
        else:
            self._plain(*(self.server.case.answer or (b"", "text/plain")))

    def _plain(self, data: bytes, mime: str) -> None:
        self.send_response(self.server.case.expected.get("refusal", {}).get("status", 200))
        self.send_header("content-type", mime)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in pieces(data, str(self.server.case)):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: Any) -> None:
        """Keep the test output clean."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    case: Case

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[Received] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up on a broken stream is no failure of the server."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Upstream:
    """The server in its own thread; `show` chooses the fixtures it answers with."""

    def __init__(self) -> None:
        self._server = _Server()
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def show(self, case: Case) -> None:
        """Answer the next requests with this case, and forget the earlier ones."""
        self._server.case = case
        self._server.received.clear()

    @property
    def received(self) -> Received:
        """The one request made since `show`."""
        (only,) = self._server.received
        return only


def pieces(data: bytes, seed: str) -> Iterator[bytes]:
    """The data in pieces of random size; the same seed cuts alike."""
    dice = random.Random(seed)  # noqa: S311  cuts, not secrets
    at = 0
    while at < len(data):
        size = dice.choice((1, 2, 3, 7, 19, 64, 250))
        yield data[at : at + size]
        at += size
