"""A provider on the loopback: answers what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from time import sleep

ANSWER = (
    b'{"id": "c1", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [{"index": 0, '
    b'"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}], '
    b'"usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}'
)


@dataclass(slots=True)
class Upstream:
    """What it answers (`status`, after `delay` seconds, with `headers`), and what it heard: method, path, headers."""

    base_url: str = ""
    status: int = 200
    delay: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    heard: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)


class Server(ThreadingHTTPServer):
    """One whose callers may hang up."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a test that gives up waiting is no fault."""


@contextmanager
def upstream() -> Iterator[Upstream]:
    """One that listens until the end."""
    told = Upstream()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.heard.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
            self.rfile.read(int(self.headers.get("content-length") or 0))
            sleep(told.delay)
            self.send_response(told.status)
            plain = {"content-type": "application/json", "content-length": str(len(ANSWER))}
            for name, value in (plain | told.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(ANSWER)

        do_POST = do_GET  # noqa: N815 (the name http.server calls)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with Server(("127.0.0.1", 0), Handler) as server:
        told.base_url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()
