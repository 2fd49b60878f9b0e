"""Traces and limits as the caller and the operator set them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.lane.conftest import Ask, chat
from gateway.upstream import Upstream
from support.callers import Client
from support.envelopes import Refusals

Traces = Callable[..., list[dict[str, Any]]]
MODEL = "gpt-4o-mini"


def test_a_trace_tells_whose_call_it_was(ask: Ask, traces: Traces) -> None:
    """Cost reports stand on project, user, key and tags."""
    ask(MODEL, headers={"X-Project": "search", "X-Stockyard-Tags": "team=core, step=1,broken"})
    ask(MODEL, headers={"X-Stockyard-Tags": '{"team": "edge"}'})
    ask(MODEL, headers={"X-Stockyard-Tags": '{"team"'})
    first, second, third = traces(3)
    assert (first["project"], first["tags"]) == ("search", {"team": "core", "step": "1"})
    assert (second["project"], second["tags"]) == ("default", {"team": "edge"})
    assert third["tags"] == {}
    assert (first["user_id"], first["key_id"] is not None) == (1, True)


@pytest.mark.parametrize("stream", [False, True])
def test_bodies_are_cut_to_the_size_the_operator_allows(
    ask: Ask, traces: Traces, configure: Callable[..., None], stream: bool
) -> None:
    """A prompt of a megabyte must not fill the disk."""
    configure("logging", max_body_size=100)
    assert ask(MODEL, "ü" * 1000, stream=stream).status_code == 200
    (trace,) = traces(1)
    assert (len(trace["request"]), len(trace["response"])) == (100, 100)


@pytest.mark.parametrize("off", [{"store_bodies": False}, {"enabled": False}])
def test_bodies_can_be_switched_off(ask: Ask, traces: Traces, configure: Callable[..., None], off: Any) -> None:
    """The call is still accounted for."""
    configure("logging", **off)
    ask(MODEL)
    (trace,) = traces(1)
    assert (trace["request"], trace["response"], trace["tokens_in"]) == (None, None, 20)


@pytest.mark.settings(rate_limits="on")
def test_the_shield_lets_a_burst_through_and_then_the_rate(
    client: Client, ask: Ask, refused: Refusals, configure: Callable[..., None], upstream: Upstream
) -> None:
    """The wait is true, the provider hears nothing of what was refused, and other keys are not held up."""
    configure("rateshield", rpm=60, burst=3)
    admitted = [ask(MODEL) for _ in range(3)]
    assert [r.headers["x-ratelimit-remaining-requests"] for r in admitted] == ["2", "1", "0"]
    over = ask(MODEL)
    told = refused(over, 429, "rate_limited")
    assert told["error"]["message"] == "Rate limit exceeded. Retry after 1s."
    assert (over.headers["retry-after"], over.headers["x-ratelimit-limit-requests"]) == ("1", "60")
    assert client.admin.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
    assert len(upstream.seen(MODEL)) == 4
