"""How answers go on the wire: in one write, by their length or in chunks, and never with a header cut in two."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn

from app.server.protocol import Protocol
from app.wire.replies import WHOLE, Receive, Reply, Scope, Send, send_reply

Answer = Callable[[Scope, Receive, Send], Any]
LENGTH = (b"content-length", b"2")


class Here:
    """A server in this process whose answers a test chooses; `asked` are the paths and queries it was asked for."""

    def __init__(self) -> None:
        self.answer: Answer = ok
        self.asked: list[tuple[str, bytes]] = []
        self.failed: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer as the test has it."""
        self.asked.append((scope["path"], scope["query_string"]))
        try:
            await self.answer(scope, receive, send)
        except RuntimeError as error:
            self.failed.append(str(error))
            raise


async def begin(send: Send, *headers: tuple[bytes, bytes], status: int = 200) -> None:
    """Send a head."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def say(send: Send, body: bytes, *, more: bool = False) -> None:
    """Send a piece of a body."""
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def ok(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Two bytes, their length said."""
    await begin(send, LENGTH)
    await say(send, b"ok")


@pytest.fixture
def here() -> Iterator[tuple[Here, int]]:
    """The server and its port; connections rest for 0.3 s."""
    listener, application = socket.create_server(("127.0.0.1", 0)), Here()
    config = uvicorn.Config(application, http=Protocol, lifespan="off", log_config=None, timeout_keep_alive=0.3)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield application, listener.getsockname()[1]
    server.should_exit = True
    thread.join()


def told(port: int, request: bytes, within_s: float = 2.0) -> list[bytes]:
    """What came, read by read, until the server hung up or fell silent."""
    said = []
    with socket.create_connection(("127.0.0.1", port), timeout=within_s) as connection:
        connection.sendall(request)
        try:
            while piece := connection.recv(65536):
                said.append(piece)
        except TimeoutError:
            said.append(b"<silence>")
    return said


def timeless(said: list[bytes]) -> list[bytes]:
    """The same without the date, which a server looks up once a second."""
    return [re.sub(rb"date: [^\r]*\r\n", b"", piece) for piece in said]


def get(target: str = "/", method: str = "GET", *headers: str) -> bytes:
    """A request."""
    return "\r\n".join((f"{method} {target} HTTP/1.1", "host: here", *headers, "", "")).encode()


def test_an_answer_is_one_write(here: tuple[Here, int]) -> None:
    """Head and body reach the client together."""
    first = told(here[1], get())[0]
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert first.endswith(b"\r\n\r\nok")


@pytest.mark.parametrize(("status", "method"), [(200, "GET"), (200, "HEAD"), (204, "GET"), (304, "GET")])
def test_an_answer_in_one_message_is_the_answer_in_two(here: tuple[Here, int], status: int, method: str) -> None:
    """What our server takes besides ASGI's own messages changes nothing on the wire, and is never sent to another."""

    def answer(*, whole: bool) -> Answer:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            assert WHOLE in scope["extensions"]
            body = b"" if status != 200 else b"ok"
            await send_reply(Reply(status, [(b"x-a", b"b")], body), receive, send, whole=whole)

        return serve

    here[0].answer = answer(whole=False)
    two = timeless(told(here[1], get("/", method)))
    here[0].answer = answer(whole=True)
    assert timeless(told(here[1], get("/", method))) == two
    assert two[0].startswith(b"HTTP/1.1 %d " % status)
    assert here[0].failed == []


def test_an_answer_cannot_begin_twice(here: tuple[Here, int]) -> None:
    """Not in one message either: the connection breaks instead of carrying a second head."""

    async def twice(_scope: Scope, receive: Receive, send: Send) -> None:
        await begin(send)
        await send_reply(Reply(200, [], b"ok"), receive, send, whole=True)

    here[0].answer = twice
    told(here[1], get())
    assert here[0].failed == [f"the message {WHOLE} is out of turn"]


def test_the_head_of_a_stream_does_not_wait_for_its_first_piece(here: tuple[Here, int]) -> None:
    """A client of events learns at once that it is connected."""

    async def slow(_scope: Scope, _receive: Receive, send: Send) -> None:
        await begin(send)
        await asyncio.sleep(0.5)
        await say(send, b"late", more=True)
        await say(send, b"")

    here[0].answer = slow
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", here[1]), timeout=2) as connection:
        connection.sendall(get())
        head = connection.recv(65536)
        assert time.monotonic() - began < 0.4
        assert b"transfer-encoding: chunked\r\n" in head
        body = b""
        while not body.endswith(b"0\r\n\r\n"):
            body += connection.recv(65536)
        assert body == b"4\r\nlate\r\n0\r\n\r\n"


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\x00b", b"a\x7f"])
def test_a_header_cannot_break_out_of_its_line(here: tuple[Here, int], value: bytes) -> None:
    """Whatever a value came from, it makes no second header."""

    async def split(_scope: Scope, _receive: Receive, send: Send) -> None:
        await begin(send, LENGTH, (b"x-said", value))

    here[0].answer = split
    said = b"".join(told(here[1], get()))
    assert said.startswith(b"HTTP/1.1 500 ")
    assert b"x-said" not in said
    assert here[0].failed == ["a header of the answer holds characters no header can carry"]


@pytest.mark.parametrize(("body", "why"), [(b"okay", "longer"), (b"o", "shorter")])
def test_an_answer_is_as_long_as_it_says(here: tuple[Here, int], body: bytes, why: str) -> None:
    """A client that trusts the length must not read into the next answer: the connection ends instead."""

    async def wrong(_scope: Scope, _receive: Receive, send: Send) -> None:
        await begin(send, LENGTH)
        await say(send, body)

    here[0].answer = wrong
    assert b"<silence>" not in told(here[1], get())
    assert here[0].failed == [f"the answer is {why} than its Content-Length"]


def test_an_answer_without_a_body_has_none(here: tuple[Here, int]) -> None:
    """Neither to HEAD nor with 204, whatever the application says (RFC 9110 §9.3.2, §15.3.5)."""
    said = b"".join(told(here[1], get(method="HEAD") + get(method="HEAD")))
    assert said.count(b"content-length: 2\r\n") == 2
    assert b"ok" not in said.replace(b"200 OK", b"")

    async def nothing(_scope: Scope, _receive: Receive, send: Send) -> None:
        await begin(send, status=204)
        await say(send, b"")

    here[0].answer = nothing
    said = b"".join(told(here[1], get()))
    assert b"transfer-encoding" not in said
    assert said.removesuffix(b"<silence>").endswith(b"\r\n\r\n")


def test_requests_sent_together_are_answered_in_order(here: tuple[Here, int]) -> None:
    """Pipelining is rare and must still be right (RFC 9112 §9.3.2)."""

    async def echo(scope: Scope, _receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.05 if scope["path"] == "/1" else 0)
        await begin(send, LENGTH)
        await say(send, scope["path"].encode())

    here[0].answer = echo
    said = b"".join(told(here[1], get("/1") + get("/2") + get("/3", "GET", "connection: close")))
    assert [piece[-2:] for piece in said.split(b"HTTP/1.1 ")[1:]] == [b"/1", b"/2", b"/3"]
    assert b"connection: close" in said
    assert b"<silence>" not in said


def test_the_target_is_read_in_any_form(here: tuple[Here, int]) -> None:
    """As a path, or whole as proxies send it (RFC 9112 §3.2)."""
    told(here[1], get("/a%20b?c=%20d") + get("http://here/e?f") + get("http://here", "GET", "connection: close"))
    assert here[0].asked == [("/a b", b"c=%20d"), ("/e", b"f"), ("/", b"")]


def test_a_connection_that_rests_too_long_is_closed(here: tuple[Here, int]) -> None:
    """Counted from its last answer, not from its first."""
    with socket.create_connection(("127.0.0.1", here[1]), timeout=2) as connection:
        for _ in range(4):
            connection.sendall(get())
            assert connection.recv(65536).endswith(b"ok")
            time.sleep(0.2)
        began = time.monotonic()
        assert connection.recv(1) == b""
        assert time.monotonic() - began < 1


def test_a_body_is_read_whole_and_its_end_is_told(here: tuple[Here, int]) -> None:
    """Piece by piece as it comes; then nothing but the client's leaving is left to hear."""
    heard: list[Any] = []

    async def listen(_scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        heard.append(body)
        await begin(send, LENGTH)
        await say(send, b"ok")
        heard.append((await receive())["type"])

    here[0].answer = listen
    head = get("/", "POST", "content-length: 300000", "expect: 100-continue", "connection: close")
    said = b"".join(told(here[1], head + b"x" * 300_000))
    assert said.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert heard == [b"x" * 300_000, "http.disconnect"]
