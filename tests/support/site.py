"""A web site on the loopback that says byte for byte what a test wants, and remembers what it was asked."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any

Write = Callable[[bytes], object]
Reply = bytes | Callable[[Write], object]
MISSING = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


def reply(body: bytes | str = b"", status: int = 200, **headers: str) -> bytes:
    """An answer with its length; `content_type="…"` and the like are headers."""
    raw = body.encode() if isinstance(body, str) else body
    told = {"content-type": "text/html; charset=utf-8", "content-length": str(len(raw))}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"HTTP/1.1 {status} Told\r\n{head}\r\n".encode("latin-1") + raw


def moved(to: str, status: int = 302) -> bytes:
    """A redirect."""
    return f"HTTP/1.1 {status} Moved\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n".encode()


@dataclass(slots=True)
class Web:
    """Its pages by target, its address, and what was asked: (target, headers in lower case)."""

    pages: dict[str, Reply] = field(default_factory=dict)
    url: str = ""
    port: int = 0
    heard: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)

    @property
    def read(self) -> list[str]:
        """The targets asked for besides robots.txt."""
        return [target for target, _ in self.heard if target != "/robots.txt"]


class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, host: str, web: Web, tls: ssl.SSLContext | None) -> None:
        self.web, self.tls = web, tls
        super().__init__((host, 0), _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Answer over TLS where the site has a certificate."""
        if self.tls is None:
            super().finish_request(request, client_address)
        else:
            with self.tls.wrap_socket(request, server_side=True) as secure:
                super().finish_request(secure, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: callers hang up by design."""


class _Handler(StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        target = self.rfile.readline().decode("latin-1").split(" ")[1]
        lines = iter(lambda: self.rfile.readline().strip(), b"")
        pairs = (line.decode("latin-1").partition(":") for line in lines)
        self.server.web.heard.append((target, {name.lower(): value.strip() for name, _, value in pairs}))
        told = self.server.web.pages.get(target, MISSING)
        with suppress(OSError):
            self.wfile.write(told) if isinstance(told, bytes) else told(self.wfile.write)


@contextmanager
def serving(
    pages: Mapping[str, Reply] | None = None, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> Iterator[Web]:
    """A site that listens until the end."""
    web = Web(dict(pages or {}))
    with _Server(host, web, tls) as server:
        web.port = server.server_address[1]
        web.url = f"{'https' if tls else 'http'}://{host}:{web.port}"
        thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield web
        finally:
            server.shutdown()
            thread.join()
