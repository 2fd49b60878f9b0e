"""A receiver of webhooks on the loopback: answers what a test tells it to, and remembers what it was sent."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from threading import Thread
from typing import Any

from standardwebhooks.webhooks import Webhook as Standard
from svix.webhooks import Webhook as Svix

from support.provider import Server


@dataclass(frozen=True, slots=True)
class Post:
    """One request: headers in lower case, and the body as it came."""

    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        """The body read as JSON."""
        return json.loads(self.raw)

    def verified(self, secret: str) -> Any:
        """The body, once two implementations of others have found the signature good; their errors otherwise."""
        Svix(secret).verify(self.raw, self.headers)
        return Standard(secret).verify(self.raw.decode(), self.headers)


@dataclass(slots=True)
class Receiver:
    """What it answers (`answers` in turn, then `status`), and what it got."""

    url: str = ""
    status: int = 200
    said: bytes = b"thank you"
    headers: dict[str, str] = field(default_factory=dict)
    answers: list[int] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)

    def events(self) -> list[str]:
        """The types of what came, in order."""
        return [post.body["type"] for post in self.posts]

    def of(self, type_: str, count: int = 1, within: float = 10.0) -> list[Post]:
        """The first `count` posts of a type; fails when there are fewer in time."""
        deadline = time.monotonic() + within
        while True:
            found = [post for post in list(self.posts) if post.body["type"] == type_]
            if len(found) >= count:
                return found[:count]
            assert time.monotonic() < deadline, f"{len(found)} of {type_}; there came {self.events()}"
            time.sleep(0.02)


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    """One that listens until the end."""
    told = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            told.posts.append(Post(self.path, {k.lower(): v for k, v in self.headers.items()}, raw))
            self.send_response(told.answers.pop(0) if told.answers else told.status)
            for name, value in ({"content-length": str(len(told.said))} | told.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(told.said)

        def log_message(self, *_: object) -> None:
            pass

    with Server(("127.0.0.1", port), Handler) as server:
        told.url = f"http://127.0.0.1:{server.server_port}/hook"
        thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()
