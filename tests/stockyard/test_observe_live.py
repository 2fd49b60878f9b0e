"""The live feed of a real server: across workers, under many clients, resumed after a cut, and ended well."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from support.servers import Server

LIVE = "/api/observe/live"
Json = dict[str, Any]
Serve = Any
Stream = aiohttp.ClientResponse


@asynccontextmanager
async def listening(server: Server, last_seen: int | None = None) -> AsyncIterator[Stream]:
    """A client on the live feed."""
    headers = {"authorization": f"Bearer {server.admin_key}"}
    headers |= {} if last_seen is None else {"last-event-id": str(last_seen)}
    timeout = aiohttp.ClientTimeout(total=None, sock_read=30)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.get(server.base_url + LIVE, headers=headers) as stream,
    ):
        assert stream.status == 200
        yield stream


async def event(stream: Stream) -> tuple[int, Json]:
    """The next event of a stream."""
    async with asyncio.timeout(15):
        while True:
            block = (await stream.content.readuntil(b"\n\n")).decode()
            fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":") and line)
            if "data" in fields:
                return int(fields["id"]), json.loads(fields["data"])


async def add(server: Server, id_: str) -> None:
    """Record a trace."""
    body = {"operation": "chat", "id": id_}
    made = await asyncio.to_thread(server.request, "POST", "/api/observe/traces", server.admin_key, json=body)
    assert made.status_code == 201


async def live_clients(server: Server) -> int:
    """How many the server says are listening."""
    answer = await asyncio.to_thread(server.request, "GET", "/api/observe/status", server.admin_key)
    return int(answer.json()["live_clients"])


@pytest.fixture
def lasting(serve: Serve) -> Server:
    """A server with limits off."""
    started: Server = serve(rate_limits="off")
    return started


async def test_a_stream_begins_at_once_and_is_kept_from_every_buffer(lasting: Server) -> None:
    """A dashboard behind a proxy shows traffic as it happens, not when a buffer is full."""
    async with listening(lasting) as stream:
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["cache-control"] == "no-cache"
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.headers["x-request-id"]
        first = await stream.content.readuntil(b"\n\n")
        assert first.startswith(b": ")
        assert b"retry: 3000" in first
        assert (await event(stream))[1] == {"type": "connected"}
        await add(lasting, "t-1")
        seq, seen = await event(stream)
    assert (seq, seen["type"], seen["id"], seen["cost"]) == (1, "request_logged", "t-1", None)


async def test_a_cut_stream_goes_on_where_it_ended(lasting: Server) -> None:
    """Calls during a reconnect are neither lost nor shown twice."""
    async with listening(lasting) as stream:
        await event(stream)
        await add(lasting, "t-1")
        seen, _ = await event(stream)
    await add(lasting, "t-2")
    async with listening(lasting, seen) as stream:
        assert (await event(stream))[1] == {"type": "connected"}
        await add(lasting, "t-3")
        assert [(await event(stream))[1]["id"] for _ in range(2)] == ["t-2", "t-3"]


async def test_a_model_call_shows_up_within_a_second(lasting: Server) -> None:
    """What the gateway served is what the operator sees."""
    ask = {"model": "sandbox", "messages": [{"role": "user", "content": "Hello"}]}
    async with listening(lasting) as stream:
        await event(stream)
        answer = await asyncio.to_thread(lasting.request, "POST", "/v1/chat/completions", lasting.user_key, json=ask)
        answered = time.monotonic()
        _, seen = await event(stream)
        assert time.monotonic() - answered < 1
    assert answer.status_code == 200
    assert (seen["status"], seen["model"]) == ("ok", "sandbox")
    assert seen["tokens"] == answer.json()["usage"]["total_tokens"]


async def test_every_worker_shows_what_any_recorded(serve: Serve) -> None:
    """With several workers half the traffic must not be missing from half the dashboards."""
    server = serve(rate_limits="off", workers=2)
    streams = [listening(server) for _ in range(6)]
    opened = [await stream.__aenter__() for stream in streams]
    try:
        for stream in opened:
            await event(stream)
        for n in range(8):
            await add(server, f"t-{n}")
        for stream in opened:
            assert [(await event(stream))[1]["id"] for _ in range(8)] == [f"t-{n}" for n in range(8)]
    finally:
        for stream in streams:
            await stream.__aexit__(None, None, None)


async def test_two_hundred_listeners_come_and_go_without_a_trace(lasting: Server) -> None:
    """Dashboards left open, and closed without a word, cost neither answers nor memory."""
    streams = [listening(lasting) for _ in range(200)]
    opened = await asyncio.gather(*(stream.__aenter__() for stream in streams))
    await asyncio.gather(*map(event, opened))
    assert await live_clients(lasting) == 200
    await add(lasting, "t-1")
    assert {e["id"] for _, e in await asyncio.gather(*map(event, opened))} == {"t-1"}
    started = time.monotonic()
    assert (await asyncio.to_thread(lasting.request, "GET", "/health")).status_code == 200
    assert time.monotonic() - started < 1
    await asyncio.gather(*(stream.__aexit__(None, None, None) for stream in streams))
    async with asyncio.timeout(10):
        while await live_clients(lasting):  # noqa: ASYNC110 (only the server knows)
            await asyncio.sleep(0.1)


async def test_a_full_worker_says_so_in_words(lasting: Server) -> None:
    """The five hundred and first dashboard is told to come back, and the others go on."""
    streams = [listening(lasting) for _ in range(500)]
    opened = [await stream.__aenter__() for stream in streams]
    await event(opened[-1])
    answer = await asyncio.to_thread(lasting.request, "GET", LIVE, lasting.admin_key)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    assert "500 clients" in answer.json()["error"]["message"]
    await asyncio.gather(*(stream.__aexit__(None, None, None) for stream in streams))


async def test_a_server_that_stops_says_goodbye_and_stops_soon(lasting: Server) -> None:
    """An upgrade must not wait half a minute for dashboards, nor cut them off."""
    async with listening(lasting) as stream:
        await event(stream)
        started = time.monotonic()
        stopping = asyncio.create_task(asyncio.to_thread(lasting.stop))
        assert (await event(stream))[1] == {"type": "closing"}
        assert await stream.content.read() == b""
        assert await stopping == 0
    assert time.monotonic() - started < 10


def test_only_operators_listen(lasting: Server) -> None:
    """The feed tells of everybody's calls."""
    assert lasting.request("GET", LIVE, lasting.user_key).status_code == 403
    assert lasting.request("GET", LIVE).status_code == 401


def test_a_head_request_ends(lasting: Server) -> None:
    """A monitor that only asks for headers must not hold a stream open for ever."""
    assert lasting.request("HEAD", LIVE, lasting.admin_key).status_code == 200
    deadline = time.monotonic() + 10
    while lasting.request("GET", "/api/observe/status", lasting.admin_key).json()["live_clients"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
