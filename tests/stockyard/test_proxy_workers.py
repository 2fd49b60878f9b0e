"""Two workers, one set of settings: what one of them is told holds in the other within a second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from support.servers import Server

CACHE = "/api/proxy/modules/cachelayer"
QUESTION = {"model": "sandbox", "messages": [{"role": "user", "content": "Which worker is this?"}]}
WITHIN_S = 1.0


class Line:
    """A kept-alive connection: every request on it is answered by the same worker."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._session = requests.Session()
        self.worker = self.ask("GET", "/api/status").json()["worker"]

    def ask(self, method: str, path: str, key: str = "", **options: Any) -> requests.Response:
        """One request."""
        headers = {"authorization": f"Bearer {key or self._server.admin_key}"}
        return self._session.request(method, self._server.base_url + path, headers=headers, timeout=30, **options)

    def cached(self) -> str:
        """What the cache of this worker says of one question, asked twice."""
        answers = [self.ask("POST", "/v1/chat/completions", self._server.user_key, json=QUESTION) for _ in range(2)]
        return str(answers[-1].headers["x-stockyard-cache"])

    def close(self) -> None:
        """Hang up."""
        self._session.close()


@pytest.fixture
def lines(serve: Any) -> Iterator[tuple[Line, Line]]:
    """A connection to each of two workers."""
    server = serve(workers=2, rate_limits="off")
    opened: list[Line] = []
    while len({line.worker for line in opened}) < 2 and len(opened) < 200:
        opened.append(Line(server))
    first = opened[0]
    second = next(line for line in opened if line.worker != first.worker)
    yield first, second
    for line in opened:
        line.close()


def waited(line: Line, wanted: str) -> float:
    """Seconds until this worker's cache says so; a test fails when it never does."""
    began = time.monotonic()
    while time.monotonic() - began < 5 * WITHIN_S:
        if line.cached() == wanted:
            return time.monotonic() - began
        time.sleep(0.02)
    raise AssertionError(f"worker {line.worker} never took the change over")


def test_a_toggle_in_one_worker_holds_in_the_other(lines: tuple[Line, Line]) -> None:
    """Callers do not choose their worker: until both agree, a module is half on."""
    here, there = lines
    assert {here.cached(), there.cached()} == {"MISS"}
    assert here.ask("PUT", CACHE, json={"enabled": True}).status_code == 200
    assert here.cached() == "HIT", "the worker that was told must not need a moment"
    assert waited(there, "HIT") < WITHIN_S
    assert there.ask("GET", CACHE).json()["version"] == 1
    assert there.ask("PUT", CACHE, json={"enabled": False}).status_code == 200
    assert waited(here, "MISS") < WITHIN_S
