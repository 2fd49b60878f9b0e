"""What the HTTP server bears from strangers: heads too large, too slow, or no HTTP at all."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from app.server import protocol

GET = b"GET /x HTTP/1.1\r\nhost: here\r\n"


async def application(scope: Any, _receive: Any, send: Any) -> None:
    """Answers `ok` to everything."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server in this process that waits a fifth of a second for a head."""
    monkeypatch.setattr(protocol, "HEAD_WITHIN_S", 0.2)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application, http=protocol.Protocol, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join()


def heard(port: int, *parts: bytes, pause: float = 0) -> bytes:
    """Everything the server says to these bytes until it hangs up, or falls silent for a second."""
    said = b""
    with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        try:
            while piece := connection.recv(65536):
                said += piece
        except TimeoutError:
            return said + b"<silence>"
    return said + b"<end>"


def test_a_head_beyond_its_bound_is_refused(port: int) -> None:
    """Whoever sends headers without end fills no memory."""
    many = b"".join(b"x-%d: %s\r\n" % (n, b"a" * 1000) for n in range(70))
    for head in (GET + many, b"GET /" + b"a" * protocol.MOST_HEAD_BYTES + b" HTTP/1.1\r\n"):
        assert heard(port, head).startswith(b"HTTP/1.1 431 ")
        assert heard(port, head).endswith(b"<end>")


def test_a_head_of_the_usual_size_is_read_whatever_its_pieces(port: int) -> None:
    """Networks cut where they like."""
    pieces = [GET, b"x-long: " + b"a" * 8000, b"\r\n", b"\r\n"]
    assert b"200 OK" in heard(port, *pieces, pause=0.02)


@pytest.mark.parametrize("begun", [b"", b"G", GET, GET + b"x-slow: "])
def test_a_head_that_does_not_come_is_not_waited_for(port: int, begun: bytes) -> None:
    """A connection that only sits there costs a place that another could have."""
    said = heard(port, begun)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert said.endswith(b"<end>")


def test_a_connection_may_rest_between_requests(port: int) -> None:
    """The bound is on a head that began, not on a client that keeps its connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        for _ in range(2):
            connection.sendall(GET + b"\r\n")
            assert b"200 OK" in connection.recv(65536)
            time.sleep(0.5)


def test_what_is_no_http_is_refused_once(port: int) -> None:
    """And the connection ends, whatever follows."""
    said = heard(port, b"HELO there\r\n\r\n", GET + b"\r\n", pause=0.05)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1") == 1
