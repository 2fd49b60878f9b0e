"""Distributed traces: a caller's goes on through the gateway, and finished calls reach the operator's collector."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pytest
from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.engine import Context
from app.factory import Application
from app.outbound.otlp import collector
from app.runtime import enter
from app.services.spans.export import SpanExport
from gateway.lane.conftest import Ask
from gateway.upstream import Upstream
from support.receiver import Receiver, receiving
from support.servers import Server

Json = dict[str, Any]
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
IDS = {"traceId", "spanId", "parentSpanId"}
SENT = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=abc,other=1"}


@pytest.fixture
def otlp() -> Iterator[Receiver]:
    """A collector."""
    with receiving() as started:
        started.said, started.headers = b"{}", {"content-type": "application/json"}
        yield started


def export(application: Application, otlp: Receiver, **variables: str) -> None:
    """A turn of the exporter, as the engine takes it."""
    found = collector({"OTEL_EXPORTER_OTLP_ENDPOINT": otlp.url.removesuffix("/hook")} | variables)
    assert found is not None
    enter(application.runtime)
    SpanExport(application.runtime.engine, found)(_context())


def _context() -> Context:
    return Context("spans", Event(), lambda: False, lambda _, function: function())


def decoded(raw: bytes) -> list[Any]:
    """The spans of a request, read by the official protobuf; OTLP's JSON has ids in hex where protobuf's has base64."""

    def told(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: _based(part) if name in IDS else told(part) for name, part in value.items()}
        return [told(item) for item in value] if isinstance(value, list) else value

    read = Parse(json.dumps(told(json.loads(raw))), ExportTraceServiceRequest())
    return [span for part in read.resource_spans for scope in part.scope_spans for span in scope.spans]


def _based(digits: str) -> str:
    return b64encode(bytes.fromhex(digits)).decode()


def attributes(span: Any) -> Json:
    """A span's attributes as plain values."""
    return {a.key: getattr(a.value, str(a.value.WhichOneof("value"))) for a in span.attributes}


def test_a_callers_trace_goes_on_to_the_provider(
    ask: Ask, upstream: Upstream, traces: Callable[..., list[Json]]
) -> None:
    """Streamed or not, with our span as the provider's parent; the trace here names the caller's span."""
    upstream.script("gpt-x", {}, {}, {})
    for fields in ({}, {"stream": True}):
        ask("gpt-x", headers=SENT, **fields)
    ask("gpt-x")
    rows = traces(3)
    for row, seen in zip(rows[:2], upstream.seen("gpt-x"), strict=False):
        assert seen["headers"]["traceparent"] == f"00-{TRACE}-{row['id'][-16:]}-01"
        assert seen["headers"]["tracestate"] == SENT["tracestate"]
        assert row["parent_id"] == SPAN
    assert "traceparent" not in upstream.seen("gpt-x")[2]["headers"]
    assert rows[2]["parent_id"] is None


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "nonsense",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
    ],
)
def test_a_broken_header_is_ignored(ask: Ask, upstream: Upstream, traces: Callable[..., list[Json]], sent: str) -> None:
    """As the standard wants it (Trace Context §4.3): it must never cost a call."""
    upstream.script("gpt-x", {})
    assert ask("gpt-x", headers={"traceparent": sent}).status_code == 200
    assert traces(1)[0]["parent_id"] is None
    assert "traceparent" not in upstream.seen("gpt-x")[0]["headers"]


@pytest.mark.settings(trace_propagation="off")
def test_an_operator_may_keep_it_here(ask: Ask, upstream: Upstream, traces: Callable[..., list[Json]]) -> None:
    """Providers need not learn of it; the trace here has it all the same."""
    upstream.script("gpt-x", {})
    ask("gpt-x", headers=SENT)
    assert "traceparent" not in upstream.seen("gpt-x")[0]["headers"]
    assert traces(1)[0]["parent_id"] == SPAN


@pytest.mark.settings(trace_propagation="always")
def test_an_operator_may_have_every_call_traced(ask: Ask, upstream: Upstream) -> None:
    """A call without a trace begins one: its own id."""
    upstream.script("gpt-x", {})
    own = ask("gpt-x").headers["x-stockyard-trace-id"].removeprefix("tr_")
    assert upstream.seen("gpt-x")[0]["headers"]["traceparent"] == f"00-{own}-{own[-16:]}-01"


def test_finished_calls_are_exported_as_genai_spans(
    application: Application, ask: Ask, upstream: Upstream, traces: Callable[..., list[Json]], otlp: Receiver
) -> None:
    """From now on, each once, in the caller's trace, with what is known of it and without a word of what was said."""
    upstream.script("gpt-x", {}, {}, {})
    upstream.script("gpt-bad", {"status": 400, "body": {"error": {"message": "no such thing"}}})
    ask("gpt-x", "before anybody asked")
    traces(1)
    export(application, otlp)
    assert otlp.posts == []
    ask("gpt-x", "something private", headers=SENT)
    ask("gpt-bad", "something private")
    unsampled = SENT | {"traceparent": SENT["traceparent"][:-1] + "0"}
    ask("gpt-x", headers=unsampled)
    _, linked, bad, _ = traces(4)
    export(application, otlp, OTEL_SERVICE_NAME="house", OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20abc")
    export(application, otlp)
    [post] = otlp.posts
    assert (post.path, post.headers["content-type"]) == ("/v1/traces", "application/json")
    assert post.headers["authorization"] == "Bearer abc"
    first, second = decoded(post.raw)
    assert (first.trace_id.hex(), first.parent_span_id.hex()) == (TRACE, SPAN)
    assert (first.span_id.hex(), first.name, first.kind) == (linked["id"][-16:], "chat gpt-x", 3)
    assert first.trace_state == SENT["tracestate"]
    assert first.end_time_unix_nano - first.start_time_unix_nano == linked["duration_us"] * 1_000
    told = attributes(first)
    wanted = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-x",
        "gen_ai.usage.input_tokens": linked["tokens_in"],
        "gen_ai.usage.output_tokens": linked["tokens_out"],
        "yardmaster.trace_id": linked["id"],
    }
    assert {name: told[name] for name in wanted} == wanted
    assert (second.trace_id.hex(), second.parent_span_id) == (bad["id"][3:], b"")
    assert second.status.code == 2
    assert attributes(second)["error.type"] == str(bad["http_status"])
    assert b"private" not in post.raw
    assert json.loads(post.raw)["resourceSpans"][0]["resource"]["attributes"][0]["value"]["stringValue"] == "house"


def test_a_collector_that_is_away_gets_everything_later(
    application: Application, ask: Ask, upstream: Upstream, traces: Callable[..., list[Json]], otlp: Receiver
) -> None:
    """What it refuses for good is given up, so that the rest gets through; prompts are sent when that is asked for."""
    export(application, otlp)
    upstream.script("gpt-x", {}, {})
    ask("gpt-x", "first")
    traces(1)
    otlp.answers = [503, 200]
    export(application, otlp)
    export(application, otlp, OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="true")
    refused, taken = otlp.posts
    assert decoded(refused.raw)[0].span_id == decoded(taken.raw)[0].span_id
    assert "gen_ai.input.messages" not in attributes(decoded(refused.raw)[0])
    said = json.loads(attributes(decoded(taken.raw)[0])["gen_ai.input.messages"])
    assert said == [{"role": "user", "parts": [{"type": "text", "content": "first"}]}]
    assert "assistant" in attributes(decoded(taken.raw)[0])["gen_ai.output.messages"]
    ask("gpt-x", "second")
    traces(2)
    otlp.answers = [400]
    export(application, otlp)
    export(application, otlp)
    assert len(otlp.posts) == 3


def test_a_server_exports_by_itself(serve: Callable[..., Server], otlp: Receiver) -> None:
    """With nothing but the variable every OpenTelemetry program reads."""
    server = serve(rate_limits="off", variables={"OTEL_EXPORTER_OTLP_ENDPOINT": otlp.url.removesuffix("/hook")})
    deadline = time.monotonic() + 20
    while not otlp.posts and time.monotonic() < deadline:
        chat = {"model": "sandbox", "messages": [{"role": "user", "content": "hello"}]}
        server.request("POST", "/v1/chat/completions", server.user_key, json=chat)
        time.sleep(0.3)
    spans = [span for post in otlp.posts for span in decoded(post.raw)]
    assert {span.name for span in spans} == {"chat sandbox"}
    assert collector({}) is None
