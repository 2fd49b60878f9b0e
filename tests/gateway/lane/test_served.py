"""The lane through the real server: hang-ups, the end of a server, a full disk, a locked database."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from gateway.lane.conftest import PROVIDERS, chat
from gateway.upstream import Upstream
from support.servers import Server

Json = dict[str, Any]
MODEL = "gpt-4o-mini"


@pytest.fixture
def yard(serve: Callable[..., Server], upstream_process: Upstream) -> Server:
    """A server whose providers are the scripted one."""
    return serve(rate_limits="off", variables=upstream_process.environment(*PROVIDERS, timeout=20))


def stored(server: Server, count: int, within: float = 10.0) -> list[Json]:
    """The server's traces once there are that many; fails when there are fewer in time, or more."""
    deadline = time.monotonic() + within
    rows: list[Json] = []
    while time.monotonic() < deadline:
        with contextlib.closing(sqlite3.connect(server.data / "yardmaster.db")) as database:
            database.row_factory = sqlite3.Row
            rows = [dict(row) for row in database.execute("SELECT * FROM traces ORDER BY seq")]
        if len(rows) >= count:
            break
        time.sleep(0.05)
    assert len(rows) == count, f"{len(rows)} traces instead of {count}"
    return rows


def ask(server: Server, **fields: Any) -> requests.Response:
    """One chat call."""
    stream = bool(fields.get("stream"))
    body = chat(fields.pop("model", MODEL), **fields)
    return server.request("POST", "/v1/chat/completions", server.user_key, json=body, stream=stream)


def whole(response: requests.Response) -> requests.Response:
    """The answer, read to its end."""
    with response:
        assert response.content
    return response


@contextlib.contextmanager
def calling(server: Server, **fields: Any) -> Iterator[socket.socket]:
    """A call written to a bare socket, which is closed at the end, answered or not."""
    body = json.dumps(chat(MODEL, **fields)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.user_key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head.encode() + body)
        yield connection


def arrived(upstream: Upstream, count: int = 1) -> None:
    """Wait until the provider has that many requests."""
    deadline = time.monotonic() + 5
    while len(upstream.seen(MODEL)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("patience", [0.1, 1.4], ids=["at once", "later"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_caller_who_hangs_up_stops_the_provider(
    yard: Server, upstream: Upstream, stream: bool, patience: float
) -> None:
    """Nobody waits for the answer: what it would cost must not go on, and what it did is settled."""
    upstream.script(MODEL, {"delay": 15})
    with calling(yard, stream=stream):
        arrived(upstream)
        time.sleep(patience)
    left = time.time()
    assert upstream.ended(MODEL)["end"] == "cut"
    assert upstream.seen(MODEL)[0]["ended"] - left < 1.1
    (trace,) = stored(yard, 1)
    assert (trace["status"], trace["http_status"], trace["usage_source"]) == ("error", 499, "estimated")
    assert trace["cost_nano"] > 0


def test_a_caller_who_leaves_a_stream_pays_for_what_came(yard: Server, upstream: Upstream) -> None:
    """Cancelled streams billed as nothing are how budgets are walked around."""
    upstream.script(MODEL, {"pause": 0.1, "text": "word " * 100})
    with calling(yard, stream=True) as connection:
        received = b""
        while received.count(b"word") < 5:
            received += connection.recv(65536)
    left = time.time()
    assert upstream.ended(MODEL)["end"] == "cut"
    assert upstream.seen(MODEL)[0]["ended"] - left < 1.0
    (trace,) = stored(yard, 1)
    assert (trace["http_status"], trace["usage_source"]) == (499, "estimated")
    assert 5 <= trace["tokens_out"] < 20
    assert trace["cost_nano"] > 0


def test_a_stream_in_flight_outlives_the_order_to_stop(yard: Server, upstream: Upstream) -> None:
    """A deployment must cut nobody off in the middle of a sentence; then the server ends well, everything stored."""
    upstream.script(MODEL, {"pause": 0.2, "text": "one two three four five six seven eight nine ten"})
    with ask(yard, stream=True) as response:
        lines = response.iter_lines()
        next(lines)
        yard.process.terminate()
        rest = [line for line in lines if line]
    assert rest[-1] == b"data: [DONE]"
    assert yard.process.wait(20) == 0
    (trace,) = stored(yard, 1)
    assert (trace["status"], trace["tokens_out"]) == ("ok", 10)
    assert list((yard.data / "spool").glob("*.spool")) == []


def test_a_spool_nobody_can_write_stops_no_call(yard: Server, upstream: Upstream) -> None:
    """Traces wait in memory until the disk is back, and none is lost."""
    assert ask(yard).status_code == 200
    stored(yard, 1)
    spool = yard.data / "spool"
    shutil.rmtree(spool)
    spool.write_text("in the way")
    assert [ask(yard).status_code for _ in range(5)] == [200] * 5
    deadline = time.monotonic() + 5
    while "their traces wait in memory" not in yard.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    spool.unlink()
    stored(yard, 6)
    assert ask(yard).status_code == 200
    stored(yard, 7)


def test_a_disk_that_is_full_stops_no_call(serve: Callable[..., Server], upstream: Upstream, tmp_path: Path) -> None:
    """A real file system without room: the database and the spool both fail, the proxy does not."""
    data = tmp_path / "small"
    data.mkdir()
    with small_disk(data) as filler:
        yard = serve(data=data, rate_limits="off", variables=upstream.environment(*PROVIDERS, timeout=20))
        assert ask(yard).status_code == 200
        stored(yard, 1)
        filler()
        assert [ask(yard, content="word " * 3000).status_code for _ in range(12)] == [200] * 12
        assert "their traces wait in memory" in yard.log.read_text()
        (data / "filler").unlink()
        stored(yard, 13)
        yard.stop()


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[], None]]:
    """A file system of 24 MB; yields what fills it."""
    command = ["/usr/bin/mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no right to mount a file system")

    def fill() -> None:
        with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)

    try:
        yield fill
    finally:
        subprocess.run(["/usr/bin/umount", "-l", str(folder)], check=True)


def test_a_locked_database_stops_no_call(yard: Server, upstream: Upstream) -> None:
    """Backups and vacuums lock for seconds; calls go on at their usual pace and their traces follow."""
    assert ask(yard).status_code == 200
    locker = sqlite3.connect(yard.data / "yardmaster.db", isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda n: whole(ask(yard, stream=n % 2 == 0)).status_code, range(40))) == [200] * 40
    assert time.monotonic() - began < 10
    time.sleep(1)
    locker.execute("ROLLBACK")
    locker.close()
    rows = stored(yard, 41, within=30)
    assert len({row["id"] for row in rows}) == 41


def test_many_streams_at_once_are_told_apart(yard: Server, upstream: Upstream) -> None:
    """Each gets its own answer whole, and none waits for another."""

    def one(n: int) -> str:
        model = upstream.script(f"gpt-4o-{n}", {"text": f"answer number {n} of many", "pause": 0.05})
        with ask(yard, model=model, stream=True) as response:
            frames = [line[6:] for line in response.iter_lines() if line.startswith(b"data: {")]
        return "".join(json.loads(f)["choices"][0]["delta"].get("content", "") for f in frames)

    began = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(one, range(20))) == [f"answer number {n} of many" for n in range(20)]
    assert time.monotonic() - began < 6
    stored(yard, 20)
