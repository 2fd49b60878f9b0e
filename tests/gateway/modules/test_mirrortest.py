"""Copies of real calls at a second model, compared with what was answered."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway.lane.conftest import Ask, chat
from gateway.modules.conftest import MODEL, text_of
from gateway.upstream import Upstream
from support.callers import Client

Configure = Callable[..., None]
Traces = Callable[..., list[dict[str, Any]]]
Json = dict[str, Any]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
ONE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
SECOND = "gpt-4.1-nano"
ALL: Json = {"model": SECOND, "sample_rate": 1}


def stats(client: Client, within: float = 5.0, **wanted: int) -> Json:
    """What the module counted, once it is this."""
    deadline = time.monotonic() + within
    while True:
        found: Json = client.admin.get("/api/proxy/modules/mirrortest").json()["stats"]
        if wanted.items() <= found.items():
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


@BOTH
def test_a_call_is_copied_unseen_by_its_caller(
    ask: Ask, configure: Configure, upstream: Upstream, client: Client, traces: Traces, stream: bool
) -> None:
    """To the second model, without making it wait; what both said is compared, and the copy is nobody's call."""
    upstream.script(MODEL, {"text": "one two three"})
    upstream.script(SECOND, {"text": "One two four", "delay": 0.3})
    configure("mirrortest", **ALL)
    answer = ask(MODEL, "a secret plan", stream=stream, temperature=0.5)
    assert text_of(answer) == "one two three"
    told = stats(client, copied=1, answered=1, failed=0, left_out=0, same=0)
    assert (told["likeness"], told["copy_seconds"] >= 0.3 > told["seconds"]) == (0.5, True)
    assert told["usd"] == pytest.approx(9e-06)
    assert 0 < told["copy_usd"] < told["usd"]
    [copy] = upstream.seen(SECOND)
    assert copy["body"]["messages"] == [{"role": "user", "content": "a secret plan"}]
    assert (copy["body"]["temperature"], copy["body"].get("stream", False)) == (0.5, False)
    call, mirrored = traces(2)
    assert (mirrored["user_id"], mirrored["key_id"], mirrored["project"]) == (None, None, "mirrortest")
    assert call["id"] in str(mirrored["details"])
    assert "secret plan" in str(call["request"])
    assert "secret plan" not in str(mirrored["request"])
    assert mirrored["response"] is None


@ONE
def test_copies_cost_no_more_than_they_may(
    ask: Ask, configure: Configure, upstream: Upstream, client: Client, traces: Traces
) -> None:
    """Their worst case is held first, over all workers; nor do they count against their callers' budgets."""
    upstream.script(SECOND, {"usage": {"prompt_tokens": 5_000, "completion_tokens": 0, "total_tokens": 5_000}})
    configure("mirrortest", **ALL, max_daily_cost=0.00055)
    for number in range(2):
        ask(MODEL, max_tokens=10)
        stats(client, copied=1, left_out=number)
        stats(client, answered=1)
    configure("mirrortest", model="house-model-nobody-prices", sample_rate=1)
    ask(MODEL, max_tokens=10)
    stats(client, copied=1, left_out=2)
    assert len(traces(4)) == 4


@ONE
def test_only_what_a_provider_answered_is_copied(
    ask: Ask, configure: Configure, upstream: Upstream, client: Client
) -> None:
    """No failures, no kept answers, no vectors, nothing of a caller's own key; and nothing without a share."""
    configure("mirrortest", **ALL)
    configure("cachelayer")
    upstream.script("gpt-4o", {"status": 400})
    ask("gpt-4o")
    client.user.post("/v1/embeddings", json={"model": "text-embedding-3-small", "input": "hi"})
    client.bearing("sk-raw-0123456789").post("/v1/chat/completions", json=chat(MODEL))
    for _ in range(2):
        ask(MODEL, "again")
    stats(client, answered=1, same=1)
    configure("mirrortest", model=SECOND, sample_rate=0)
    ask(MODEL, "more")
    upstream.script(SECOND, {"status": 400})
    configure("mirrortest", **ALL)
    ask(MODEL, "another")
    stats(client, copied=2, answered=1, failed=1)
    assert len(upstream.seen(SECOND)) == 2
