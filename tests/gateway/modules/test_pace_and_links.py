"""Streams at an operator's pace, and calls in distributed traces as an operator chose."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from app.factory import Application
from gateway.lane.conftest import Ask
from gateway.lane.test_tracing import SENT, SPAN, TRACE, decoded, export
from gateway.modules.conftest import MODEL, text_of
from gateway.upstream import Upstream
from support.callers import Caller
from support.receiver import receiving

Configure = Callable[..., None]
Traces = Callable[..., list[dict[str, Any]]]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")


def test_a_stream_is_passed_on_at_its_pace(
    ask: Ask, configure: Configure, upstream: Upstream, traces: Traces, admin: Caller
) -> None:
    """Whole and in order, only slower; a plain answer is not held back, nor is what fits into the burst."""
    text = " ".join(["word"] * 24)
    upstream.script(MODEL, {"text": text})
    configure("streamthrottle", tokens_per_second=50, burst=5)
    began = time.monotonic()
    assert text_of(ask(MODEL, stream=True)) == text
    assert 0.4 <= time.monotonic() - began < 4
    assert text_of(ask(MODEL)) == text
    counted = admin.get("/api/proxy/modules/streamthrottle").json()["stats"]
    assert counted["streams"] == 1
    assert 0 < counted["waited_s"] <= 0.6
    configure("streamthrottle", tokens_per_second=1, burst=500)
    began = time.monotonic()
    assert text_of(ask(MODEL, stream=True)) == text
    assert time.monotonic() - began < 3
    assert {row["status"] for row in traces(3)} == {"ok"}


def test_a_pace_slower_than_a_clients_patience_keeps_it_awake(
    ask: Ask, configure: Configure, upstream: Upstream, application: Application
) -> None:
    """A comment is sent as often as when a provider is quiet."""
    application.runtime.gateway.pace = type(application.runtime.gateway.pace)(keepalive=0.05)
    configure("streamthrottle", tokens_per_second=20, burst=1)
    upstream.script(MODEL, {"pieces": _pieces("Hi", "x" * 40)})
    answer = ask(MODEL, stream=True)
    assert text_of(answer) == "Hi" + "x" * 40
    assert answer.text.count("\n: ") + answer.text.startswith(": ") >= 2


def _pieces(*texts: str) -> list[str]:
    chunk = '{"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":%s,%s}]}'
    told = [chunk % (f'{{"content":"{text}"}}', '"finish_reason":null') for text in texts]
    return [f"data: {one}\n\n" for one in [*told, chunk % ("{}", '"finish_reason":"stop"')]] + ["data: [DONE]\n\n"]


@BOTH
def test_a_trace_is_begun_for_calls_without_one(
    ask: Ask, configure: Configure, upstream: Upstream, traces: Traces, admin: Caller, *, stream: bool
) -> None:
    """A caller's own goes on as it came."""
    configure("tracelink")
    ask(MODEL, stream=stream)
    ask(MODEL, stream=stream, headers=SENT)
    own, theirs = traces(2)
    sent = [seen["headers"]["traceparent"] for seen in upstream.seen(MODEL)]
    assert sent == [f"00-{own['id'][3:]}-{own['id'][-16:]}-01", f"00-{TRACE}-{theirs['id'][-16:]}-01"]
    assert theirs["parent_id"] == SPAN
    counted = admin.get("/api/proxy/modules/tracelink").json()["stats"]
    assert counted == {"joined": 1, "begun": 1, "left_out": 0}


@BOTH
def test_a_callers_trace_can_be_kept_out(
    ask: Ask, configure: Configure, upstream: Upstream, traces: Traces, *, stream: bool
) -> None:
    """Neither read nor sent."""
    configure("tracelink", propagate_w3c=False)
    ask(MODEL, stream=stream, headers=SENT)
    assert "traceparent" not in upstream.seen(MODEL)[0]["headers"]
    [row] = traces(1)
    assert row["parent_id"] is None
    assert "traceparent" not in str(row["details"])


def test_only_the_share_that_is_sampled_is_exported(
    ask: Ask, configure: Configure, upstream: Upstream, application: Application, traces: Traces
) -> None:
    """Under the name the operator chose; who sampled its own trace is not overruled, and every call is recorded."""
    with receiving() as otlp:
        otlp.said, otlp.headers = b"{}", {"content-type": "application/json"}
        export(application, otlp)
        configure("tracelink", sample_rate=0, service_name="yard-7")
        ask(MODEL)
        ask(MODEL, headers=SENT)
        left_out, theirs = traces(2)
        export(application, otlp)
        [post] = otlp.posts
        assert [span.span_id.hex() for span in decoded(post.raw)] == [theirs["id"][-16:]]
        assert "yard-7" in post.raw.decode()
    assert upstream.seen(MODEL)[0]["headers"]["traceparent"] == f"00-{left_out['id'][3:]}-{left_out['id'][-16:]}-00"
