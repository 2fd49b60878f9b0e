"""Error normalisation in the lane: the caller's status is the operator's choice, what is tried next the provider's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.factory import Application
from app.gateway.modules.shapes import REFUSALS
from app.spec.join import bundle
from gateway.lane.conftest import Ask, events
from gateway.upstream import Upstream
from support.callers import Caller, Client
from support.envelopes import Refusals

pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Configure = Callable[..., None]
Json = dict[str, Any]
Traces = Callable[..., list[Json]]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
MODEL = "gpt-4o-mini"
TURN = [{"role": "user", "content": "hello"}]
ASKED: dict[str, Json] = {
    "/v1/chat/completions": {"messages": TURN},
    "/v1/messages": {"messages": TURN, "max_tokens": 50},
    "/v1/responses": {"input": "hello"},
}
WIRES = pytest.mark.parametrize("path", ASKED)


@pytest.fixture(autouse=True)
def quick(configure: Configure) -> None:
    """Retries without long waits."""
    configure("retrypilot", base_delay="1ms", max_delay="2s", max_retries=2)


@BOTH
@WIRES
def test_a_providers_status_is_answered_with_the_chosen_one(  # noqa: PLR0913, PLR0917 (fixtures)
    client: Client, configure: Configure, upstream: Upstream, refused: Refusals, traces: Traces, path: str, stream: bool
) -> None:
    """On every wire, in the words that fit the new status, and in the trace."""
    configure("errornorm", status_map={"500": "503"})
    upstream.script(MODEL, {"status": 500, "error": {"type": "server_error"}})
    response = client.user.post(path, json={"model": MODEL, "stream": stream, **ASKED[path]})
    told = refused(response, 503)["error"]
    assert told["type"] == ("overloaded_error" if path == "/v1/messages" else "api_error")
    assert told.get("code", "unavailable") == "unavailable"
    assert response.headers["retry-after"] == "1"
    assert "x-should-retry" not in response.headers
    (trace,) = traces(1)
    assert (trace["http_status"], trace["attempts"]) == (503, 3)


@BOTH
@WIRES
def test_the_providers_own_words_are_in_the_details(
    client: Client, configure: Configure, upstream: Upstream, refused: Refusals, path: str, stream: bool
) -> None:
    """Also where we would keep them to ourselves, but no key, and no book."""
    configure("errornorm", keep_original=True)
    said = "Your key @KEY@ and sk-proj-0123456789abcdef of org-Acme were refused. " + "Why? " * 300
    upstream.script(MODEL, {"status": 401, "error": {"message": said}})
    response = client.user.post(path, json={"model": MODEL, "stream": stream, **ASKED[path]})
    told = refused(response, 502)["error"]
    original = told["details"]["provider_message"]
    assert original.startswith("Your key [redacted] and [redacted] of org-Acme were refused. Why?")
    assert len(original) <= 500
    assert "Acme" not in told["message"]
    configure("errornorm")
    again = refused(client.user.post(path, json={"model": MODEL, "stream": stream, **ASKED[path]}), 502)
    assert "provider_message" not in str(again)


@BOTH
def test_what_is_repeated_goes_by_the_providers_own_status(
    ask: Ask, configure: Configure, upstream: Upstream, stream: bool
) -> None:
    """A refusal that passes is tried again whatever its new status says, one that does not is not."""
    configure("errornorm", status_map={"503": 400, "400": 503})
    upstream.script("gpt-passes", {"status": 503})
    upstream.script("gpt-stays", {"status": 400})
    assert ask("gpt-passes", stream=stream).status_code == 400
    assert len(upstream.seen("gpt-passes")) == 3
    stays = ask("gpt-stays", stream=stream)
    assert (stays.status_code, stays.headers["x-should-retry"]) == (503, "false")
    assert len(upstream.seen("gpt-stays")) == 1


def test_circuits_and_stand_ins_go_by_it_too(
    ask: Ask, configure: Configure, upstream: Upstream, application: Application
) -> None:
    """A broken provider called a caller's mistake is broken all the same; a mistake called broken is nobody's fault."""
    configure("errornorm", status_map={"500": 404, "404": 500})
    configure("retrypilot", enabled=False)
    configure("failover", providers=["openai", "groq"], models={"gpt-4o": {"groq": "llama"}})
    upstream.script("gpt-4o", {"status": 500})
    assert ask("gpt-4o").status_code == 200
    assert len(upstream.seen("llama")) == 1
    breaker = application.runtime.gateway.attempts.breaker("openai")
    assert breaker.failures == 1
    upstream.script("gpt-4o", {"status": 404})
    assert ask("gpt-4o").status_code == 500
    assert (len(upstream.seen("llama")), breaker.failures) == (1, 0)


def test_a_caller_is_told_of_the_last_provider_that_refused(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """Not of the one before it; and what stands in and answers is no refusal."""
    configure("errornorm", status_map={"500": 503, "418": 409}, keep_original=True)
    configure("retrypilot", enabled=False)
    configure("failover", providers=["openai", "groq"], models={"gpt-4o": {"groq": "llama"}})
    upstream.script("gpt-4o", {"status": 500, "error": {"message": "broken"}})
    upstream.script("llama", {"status": 418, "error": {"message": "a teapot"}})
    told = ask("gpt-4o").json()["error"]
    assert (told["status"], told["code"]) == (409, "conflict")
    assert told["details"] == {"provider": "groq", "provider_status": 418, "provider_message": "a teapot"}


def test_the_providers_code_is_kept_and_its_type_is_not(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """Its code tells more than ours; its type would contradict the status."""
    configure("errornorm", status_map={"400": 413})
    error = {"code": "context_length_exceeded", "type": "invalid_request_error", "param": "messages"}
    upstream.script(MODEL, {"status": 400, "error": error})
    told = ask(MODEL).json()["error"]
    assert (told["status"], told["code"]) == (413, "context_length_exceeded")
    assert (told["type"], told["param"]) == ("invalid_request_error", "messages")
    assert told["details"]["provider_status"] == 400


def test_a_status_that_asks_for_a_header_has_it(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """A challenge with 401; with 429 and 503 when to come back, as the provider said it."""
    configure("errornorm", status_map={"403": 401, "529": 429, "429": 503})
    configure("retrypilot", enabled=False)
    upstream.script("gpt-a", {"status": 403})
    assert ask("gpt-a").headers["www-authenticate"] == "Bearer"
    upstream.script("gpt-b", {"status": 529, "headers": {"retry-after": "7"}})
    assert ask("gpt-b").headers["retry-after"] == "7"
    upstream.script("gpt-c", {"status": 429, "headers": {"retry-after": "9"}})
    again = ask("gpt-c")
    assert (again.status_code, again.headers["retry-after"]) == (503, "9")
    assert "x-should-retry" not in again.headers


@BOTH
def test_what_is_no_refusal_keeps_our_status(ask: Ask, configure: Configure, upstream: Upstream, stream: bool) -> None:
    """Silence, an answer that is none, and what we refuse ourselves have no status of a provider's."""
    configure("errornorm", status_map={"502": 400, "504": 400, "404": 400}, keep_original=True)
    configure("retrypilot", enabled=False)
    for does, status in (({"hang": True}, 504), ({"close": True}, 502), ({"raw": "nothing"}, 502)):
        upstream.script(MODEL, does)
        response = ask(MODEL, stream=stream)
        assert response.status_code == status
        assert "provider_message" not in response.text


def test_a_stream_that_broke_has_its_status_already(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """The words of the provider stand in the event that ends it."""
    configure("errornorm", status_map={"500": 503}, keep_original=True)
    upstream.script(MODEL, {"frames": 2, "pause": 0.05, "then": "error"})
    response = ask(MODEL, stream=True)
    assert response.status_code == 200
    assert "overloaded in the middle" in events(response)[-2]["error"]["message"]


def test_a_key_replays_only_what_is_final_by_both(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """A failure that passes must not be repeated for a day because it is called a caller's mistake."""
    configure("errornorm", status_map={"500": 400})
    configure("retrypilot", enabled=False)
    upstream.script(MODEL, {"status": 500}, {})
    headers = {"Idempotency-Key": "once-1"}
    assert ask(MODEL, headers=headers).status_code == 400
    assert ask(MODEL, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "status_map",
    [
        {"200": "400"},
        {"5xx": "503"},
        {"500": "200"},
        {"500": "418"},
        {"500": 599},
        {"500": True},
        {"1500": 500},
        {str(status): 500 for status in range(400, 501)},
    ],
)
def test_only_refusals_become_refusals_the_document_knows(admin: Caller, refused: Refusals, status_map: Json) -> None:
    """A failure is never called a success, and no client meets a status it was not told of."""
    response = admin.put("/api/proxy/modules/errornorm", json={"config": {"status_map": status_map}})
    assert "status_map" in refused(response, 400)["error"]["message"]


def test_every_refusal_the_document_knows_may_be_chosen(admin: Caller) -> None:
    """The statuses of the setting are those of every model call, no more and no fewer."""
    documented = bundle()["paths"]
    for path in (*ASKED, "/v1/completions", "/v1/embeddings"):
        statuses = [status for status in documented[path]["post"]["responses"] if status >= "400"]
        assert sorted(map(int, statuses)) == list(REFUSALS)
    chosen = {str(status): status for status in REFUSALS}
    response = admin.put("/api/proxy/modules/errornorm", json={"config": {"status_map": chosen}})
    assert response.status_code == 200, response.text


def test_what_was_done_is_counted(ask: Ask, configure: Configure, upstream: Upstream, admin: Caller) -> None:
    """Refusals under another status, and those with their own words; once for each provider given up."""
    configure("errornorm", status_map={"500": "503"}, keep_original=True)
    upstream.script(MODEL, {"status": 500})
    ask(MODEL)
    upstream.script(MODEL, {"status": 404})
    ask(MODEL)
    assert admin.get("/api/proxy/modules/errornorm").json()["stats"] == {"mapped": 1, "quoted": 2}
