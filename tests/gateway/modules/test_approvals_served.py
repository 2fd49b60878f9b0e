"""Calls that wait for approval through the real server: several workers, callers who hang up, and ends of all kinds."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import requests

from gateway.lane.conftest import PROVIDERS, chat
from gateway.lane.test_served import ask, calling, stored, whole
from gateway.modules.test_modules_served import switched
from gateway.upstream import Upstream
from support.approvals import Desk, desk_of
from support.servers import Server

MODEL = "gpt-4o-mini"
RISKY = "Please drop table invoices"
GATE = {"patterns": [r"drop\s+table"], "timeout": "60s"}
Serve = Callable[..., Server]


def asked(yard: Server, content: str, **fields: Any) -> requests.Response:
    """One call that says this."""
    return whole(ask(yard, messages=chat(MODEL, content)["messages"], **fields))


@contextlib.contextmanager
def desk_at(yard: Server) -> Iterator[Desk]:
    """The operator's desk, with the module on."""
    switched(yard, "approvalgate", **GATE)
    with desk_of(
        partial(yard.request, "GET", key=yard.admin_key), partial(yard.request, "POST", key=yard.admin_key)
    ) as d:
        yield d


def test_a_decision_reaches_every_worker_within_a_second(serve: Serve, upstream: Upstream) -> None:
    """Calls and decisions land in whichever worker the kernel chooses."""
    yard = serve(rate_limits="off", workers=2, variables=upstream.environment(*PROVIDERS, timeout=20))
    with desk_at(yard) as desk:
        time.sleep(1.1)  # by then both workers have heard of the settings
        calls = [desk.begin(asked, yard, f"{RISKY} {n}", stream=n % 2 == 0) for n in range(6)]
        acts = {row["trace_id"]: ("approve", 200) if row["id"] % 3 else ("reject", 403) for row in desk.waiting(6)}
        began = time.monotonic()
        for row in desk.listed():
            assert desk.decide(row["id"], acts[row["trace_id"]][0]).ok
        decided = time.monotonic() - began
        answers = [call.result(10) for call in calls]
        assert time.monotonic() - began < decided + 1
    got = {answer.headers["x-stockyard-trace-id"]: answer.status_code for answer in answers}
    assert got == {trace: status for trace, (_, status) in acts.items()}
    assert {row["status"] for row in desk.listed()} == {"approved", "rejected"}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_a_caller_who_hangs_up_is_not_waited_for(serve: Serve, upstream: Upstream, stream: bool) -> None:
    """Nobody is to decide on what nobody will read; the trace says so, and that nothing was spent."""
    yard = serve(rate_limits="off", variables=upstream.environment(*PROVIDERS, timeout=20))
    with desk_at(yard) as desk:
        with calling(yard, messages=chat(MODEL, RISKY)["messages"], stream=stream):
            [held] = desk.waiting()
        began = time.monotonic()
        desk.ended("abandoned")
        assert time.monotonic() - began < 3
        assert desk.decide(held["id"], "approve").status_code == 409
        assert desk.counted() == {"held": 1, "abandoned": 1}
    [row] = stored(yard, 1)
    assert (row["id"], row["status"], row["http_status"], row["cost_nano"]) == (held["trace_id"], "error", 499, 0)
    assert json.loads(row["details"])["approval"] == {"id": held["id"], "status": "abandoned", "waited_ms": 0}
    assert upstream.seen(MODEL) == []


def test_a_server_that_stops_lets_nobody_wait(serve: Serve, upstream: Upstream) -> None:
    """It would otherwise wait for them until it is out of patience; the caller may come to the next one."""
    yard = serve(rate_limits="off", variables=upstream.environment(*PROVIDERS, timeout=20))
    with desk_at(yard) as desk:
        call = desk.begin(asked, yard, RISKY)
        [held] = desk.waiting()
        began = time.monotonic()
        yard.stop()
        assert time.monotonic() - began < 10
        answer = call.result(5)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    again = serve(rate_limits="off", data=yard.data)
    with desk_at(again) as desk:
        assert [(row["id"], row["status"]) for row in desk.listed()] == [(held["id"], "abandoned")]


def test_what_a_killed_worker_held_is_given_up(serve: Serve, upstream: Upstream) -> None:
    """By the next one, within half a minute."""
    yard = serve(rate_limits="off", variables=upstream.environment(*PROVIDERS, timeout=20))
    with desk_at(yard) as desk:
        call = desk.begin(asked, yard, RISKY)
        [held] = desk.waiting()
        yard.kill()
        assert isinstance(call.exception(10), requests.RequestException)
    again = serve(rate_limits="off", data=yard.data)
    deadline = time.monotonic() + 30
    with desk_at(again) as desk:
        while desk.listed(status="waiting"):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        assert [(row["id"], row["status"]) for row in desk.listed()] == [(held["id"], "abandoned")]
        assert desk.decide(held["id"], "approve").status_code == 409
