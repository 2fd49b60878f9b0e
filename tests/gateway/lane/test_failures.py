"""A provider that is down, slow or lying: the caller gets a clear refusal, and one trace tells of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.factory import Application
from gateway.lane.conftest import Ask, events, said
from gateway.upstream import Upstream
from support.envelopes import Refusals

Traces = Callable[..., list[dict[str, Any]]]
HTML = "<!doctype html><html><head><title>Bad gateway of somebody</title></head></html>"
# What the provider does, what the caller is told, in how many attempts, whether the call may have cost something.
LIES: list[Any] = [
    pytest.param({"raw": HTML, "type": "text/html"}, 502, 1, True, id="html"),
    pytest.param({"raw": "not json", "type": "text/plain"}, 502, 1, True, id="no json"),
    pytest.param({"raw": '{"error": {"message": "out of chips"}}'}, 502, 1, True, id="error object in a 200"),
    pytest.param({"close": True}, 502, 1, True, id="no answer"),
    pytest.param({"hang": True}, 504, 1, True, id="never answers"),
    pytest.param({"status": 500}, 502, 3, False, id="500"),
    pytest.param({"status": 503, "raw": HTML, "type": "text/html"}, 502, 3, False, id="503 page"),
    pytest.param({"status": 401}, 502, 1, False, id="our key refused"),
    pytest.param({"status": 418}, 502, 1, False, id="unheard-of 4xx"),
    pytest.param({"status": 404, "error": {"code": "model_not_found"}}, 404, 1, False, id="no such model"),
    pytest.param({"status": 302, "headers": {"location": "http://127.0.0.1:9/"}}, 502, 1, False, id="redirect"),
]
PLAIN_LIES: list[Any] = [
    pytest.param({"body": {"choices": []}}, 502, 1, True, id="no choices"),
    pytest.param({"truncate": True}, 502, 1, True, id="half an answer"),
    pytest.param({"reset": True}, 502, 1, True, id="reset in the middle"),
]


@pytest.fixture(autouse=True)
def quick(configure: Callable[..., None]) -> None:
    """Retries without long waits."""
    configure("retrypilot", base_delay="1ms", max_delay="2s")


def proven(refused: Refusals, response: Any, trace: dict[str, Any], status: int, attempts: int) -> None:
    """The refusal and its trace tell the same."""
    told = refused(response, status)
    assert response.headers["x-stockyard-trace-id"] == trace["id"]
    assert (trace["status"], trace["http_status"], trace["attempts"]) == ("error", status, attempts)
    assert trace["error"] == told["error"]["message"]
    assert trace["provider"] == "openai"
    assert trace["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize(("does", "status", "attempts", "billable"), [*LIES, *PLAIN_LIES])
def test_a_failed_call_is_refused_clearly_and_traced_once(  # noqa: PLR0913, PLR0917 (a table's columns)
    ask: Ask,
    upstream: Upstream,
    traces: Traces,
    refused: Refusals,
    does: Any,
    status: int,
    attempts: int,
    billable: bool,
) -> None:
    """Never a 200 on a failure, never a failure without its trace, never a repetition that is paid twice."""
    model = upstream.script("gpt-4o-mini", does)
    response = ask(model)
    (trace,) = traces(1)
    proven(refused, response, trace, status, attempts)
    assert len(upstream.seen(model)) == attempts
    assert (trace["tokens_in"] > 0, trace["usage_source"]) == (billable, "estimated" if billable else "reported")
    assert (trace["cost_nano"] > 0) == billable


@pytest.mark.parametrize(("does", "status", "attempts", "billable"), LIES)
def test_a_stream_that_never_begins_is_refused_like_a_plain_call(  # noqa: PLR0913, PLR0917 (a table's columns)
    ask: Ask,
    upstream: Upstream,
    traces: Traces,
    refused: Refusals,
    does: Any,
    status: int,
    attempts: int,
    billable: bool,
) -> None:
    """A stream's head is sent only when its first chunk is there, so that a failure still has a status."""
    model = upstream.script("gpt-4o-mini", does)
    response = ask(model, stream=True)
    (trace,) = traces(1)
    proven(refused, response, trace, status, attempts)
    assert len(upstream.seen(model)) == attempts
    assert (trace["cost_nano"] > 0) == billable


@pytest.mark.parametrize("frames", [0, 1])
def test_a_stream_whose_first_chunk_does_not_come_is_a_timeout(
    ask: Ask, upstream: Upstream, traces: Traces, refused: Refusals, frames: int
) -> None:
    """A head alone is no answer: 504 while nothing was sent; after the first chunk it is a stream like any other."""
    model = upstream.script("gpt-4o-mini", {"first": 0.9 if frames == 0 else 0.1})
    response = ask(model, stream=True)
    (trace,) = traces(1)
    if frames == 0:
        proven(refused, response, trace, 504, 1)
    else:
        assert (response.status_code, trace["status"]) == (200, "ok")


@pytest.mark.parametrize("then", ["close", "reset", "error"])
def test_a_stream_that_breaks_ends_with_an_error_frame(ask: Ask, upstream: Upstream, traces: Traces, then: str) -> None:
    """What came is kept and paid by estimate; the end is an error clients raise on, never silence."""
    model = upstream.script("gpt-4o-mini", {"frames": 4, "then": then, "pause": 0.02})
    response = ask(model, "a question of several words", stream=True, stream_options={"include_usage": True})
    *chunks, error, done = events(response)
    (trace,) = traces(1)
    assert done == "[DONE]"
    assert error["error"]["code"] == "provider_error"
    assert error["error"]["message"] == trace["error"]
    assert all("error" not in chunk for chunk in chunks)
    assert (trace["status"], trace["http_status"], trace["attempts"]) == ("error", 502, 1)
    assert (trace["usage_source"], trace["tokens_in"] > 0, trace["tokens_out"] > 0) == ("estimated", True, True)
    assert trace["cost_nano"] > 0
    assert len(upstream.seen(model)) == 1


def test_a_stalled_stream_is_kept_alive_and_given_up(ask: Ask, upstream: Upstream, application: Application) -> None:
    """A client behind an impatient proxy gets comments, and in the end an error, not an endless wait."""
    gateway = application.runtime.gateway
    gateway.pace = type(gateway.pace)(keepalive=0.1, stalled=0.5)
    model = upstream.script("gpt-4o-mini", {"frames": 2, "then": "hang"})
    response = ask(model, stream=True)
    assert response.text.count(": keep-alive\n\n") == 4
    assert "stalled for 0.5 s" in events(response)[-2]["error"]["message"]
    assert upstream.ended(model)["end"] == "cut"


def test_a_quiet_stream_goes_on_after_a_comment(ask: Ask, upstream: Upstream, application: Application) -> None:
    """A comment between two chunks changes nothing of the answer."""
    gateway = application.runtime.gateway
    gateway.pace = type(gateway.pace)(keepalive=0.05)
    response = ask(upstream.script("gpt-4o-mini", {"pause": 0.13, "text": "one two three"}), stream=True)
    assert ": keep-alive\n\n" in response.text
    assert said(response) == "one two three"


def test_an_unreachable_provider_is_tried_again(
    ask: Ask, traces: Traces, refused: Refusals, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent, so nothing can be paid twice; the message tells no address."""
    accounts = application.runtime.gateway._accounts
    accounts["openai"] = type(accounts["openai"])(accounts["openai"].provider, "http://127.0.0.1:9/v1", "sk-x")
    application.runtime.changed()
    response = ask("gpt-4o-mini")
    (trace,) = traces(1)
    proven(refused, response, trace, 502, 3)
    assert "127.0.0.1" not in response.text
    assert trace["cost_nano"] == 0


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_price_is_unknown_not_nothing(ask: Ask, upstream: Upstream, traces: Traces, stream: bool) -> None:
    """A cost of 0 would let a cap never fire."""
    response = ask(upstream.script("gpt-of-tomorrow", {}), stream=stream)
    (trace,) = traces(1)
    assert "x-stockyard-cost" not in response.headers
    assert (trace["cost_nano"], trace["tokens_in"], trace["tokens_out"]) == (None, 20, 10)


def test_absurd_counts_do_not_break_the_books(ask: Ask, upstream: Upstream, traces: Traces) -> None:
    """A provider that lies about its usage must not cost us the trace."""
    usage = {"prompt_tokens": 2**53 - 1, "completion_tokens": 2**53 - 1, "total_tokens": 2**53 - 1}
    response = ask(upstream.script("o1", {"usage": usage}))
    assert response.status_code == 200
    (trace,) = traces(1)
    assert (trace["tokens_in"], trace["cost_nano"]) == (10**12, 10**15)


@pytest.mark.parametrize("wait", ["inf", "nan", "-5", "1e400", "soon", "Fri, 31 Dec 1999 23:59:59 GMT"])
def test_a_strange_retry_after_is_survived(ask: Ask, upstream: Upstream, refused: Refusals, wait: str) -> None:
    """A header of a provider must not become an error of ours."""
    model = upstream.script("gpt-4o-mini", {"status": 429, "headers": {"retry-after": wait}})
    response = ask(model)
    refused(response, 429, "rate_limited")
    assert 1 <= int(response.headers["retry-after"]) <= 86_400
