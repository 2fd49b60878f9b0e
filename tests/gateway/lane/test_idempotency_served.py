"""`Idempotency-Key` through the real server: two workers share the keys, and a client that hangs up may come back."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from gateway.lane.conftest import PROVIDERS, chat
from gateway.upstream import Upstream
from support.servers import Server

MODEL = "gpt-4o-mini"
PATH = "/v1/chat/completions"
Lines = tuple[requests.Session, requests.Session]


@pytest.fixture
def yard(serve: Callable[..., Server], upstream_process: Upstream) -> Server:
    """Two workers before the scripted provider."""
    return serve(workers=2, rate_limits="off", variables=upstream_process.environment(*PROVIDERS, timeout=20))


@pytest.fixture
def lines(yard: Server) -> Iterator[Lines]:
    """A kept-alive connection to each of the workers."""
    with contextlib.ExitStack() as stack:
        found: dict[int, requests.Session] = {}
        for _ in range(200):
            session = stack.enter_context(requests.Session())
            session.headers["authorization"] = f"Bearer {yard.admin_key}"
            found[session.get(f"{yard.base_url}/api/status", timeout=10).json()["worker"]] = session
            if len(found) > 1:
                break
        here, there = found.values()
        yield here, there


def ask(line: requests.Session, yard: Server, key: str, **fields: object) -> requests.Response:
    """One call under a key."""
    headers = {"Idempotency-Key": key}
    return line.post(yard.base_url + PATH, json=chat(MODEL, **fields), headers=headers, timeout=20)


def arrived(upstream: Upstream, count: int) -> None:
    """Wait until the provider has that many requests."""
    deadline = time.monotonic() + 5
    while len(upstream.seen(MODEL)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_workers_share_keys_and_hang_ups_free_them(yard: Server, lines: Lines, upstream: Upstream) -> None:
    """A retry lands where the balancer sends it: it must neither run twice nor be refused for what nobody read."""
    here, there = lines
    upstream.script(MODEL, {"delay": 1.0}, {"pause": 0.1, "text": "word " * 50}, {})
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ask, here, yard, "one")
        arrived(upstream, 1)
        early = ask(there, yard, "one")
        first = running.result()
    assert (early.status_code, early.json()["error"]["code"]) == (409, "idempotency_key_in_use")
    again = ask(there, yard, "one")
    assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")
    assert len(upstream.seen(MODEL)) == 1
    body = json.dumps(chat(MODEL, stream=True))
    options = {"headers": {"Idempotency-Key": "two", "content-type": "application/json"}, "stream": True, "timeout": 20}
    with here.post(yard.base_url + PATH, data=body, **options) as cut:
        next(cut.iter_content(64))
    assert upstream.ended(MODEL)["end"] == "cut"
    deadline = time.monotonic() + 5
    while (back := ask(there, yard, "two", stream=True)).status_code == 409:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert ("idempotency-replayed" in back.headers, len(upstream.seen(MODEL))) == (False, 3)
    assert ask(here, yard, "two", stream=True).content == back.content
