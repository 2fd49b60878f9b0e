"""White label in the lane: callers meet an operator's names on every wire, and traces keep the truth."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from gateway.lane.conftest import Ask, chat, events
from gateway.modules.conftest import text_of
from gateway.upstream import Upstream
from support.callers import Caller, Client
from support.envelopes import Refusals

pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Configure = Callable[..., None]
Json = dict[str, Any]
Traces = Callable[..., list[Json]]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
MODEL, SHOWN = "gpt-4o-mini", "acme-small"
NAMES = {MODEL: SHOWN, "llama": "acme-fast", "text-embedding-3-small": "acme-vectors"}
TURN = [{"role": "user", "content": "hello"}]
ASKED: dict[str, Json] = {
    "/v1/chat/completions": {"messages": TURN},
    "/v1/completions": {"prompt": "hello"},
    "/v1/messages": {"messages": TURN, "max_tokens": 50},
    "/v1/responses": {"input": "hello"},
}
WIRES = pytest.mark.parametrize("path", ASKED)
TELLING: Json = {"id": "chatcmpl-OAI1", "system_fingerprint": "fp_4471", "service_tier": "default", "x_groq": {"id": 1}}
VENDORS = re.compile("openai|gpt|groq|OAI1|fp_4471|service_tier", re.IGNORECASE)


@pytest.fixture
def label(configure: Configure) -> Configure:
    """The product's own names, and whatever else is set."""

    def set_label(**more: Any) -> None:
        configure("whitelabel", **{"product_name": "Acme AI", "model_names": NAMES} | more)

    return set_label


@BOTH
@WIRES
def test_an_answer_tells_of_no_vendor(
    client: Client, label: Configure, upstream: Upstream, traces: Traces, path: str, stream: bool
) -> None:
    """On every wire: neither the model, nor the headers, nor what else a vendor says of itself; the trace does."""
    label()
    upstream.script(MODEL, {"model": "gpt-4o-mini-2024-07-18", "body": TELLING})
    response = client.user.post(path, json={"model": SHOWN, "stream": stream, **ASKED[path]})
    assert response.status_code == 200, response.text
    told = response.text if path != "/v1/responses" else response.text.replace('"service_tier"', "")
    assert not VENDORS.search(told), told
    assert f'"model":"{SHOWN}"' in told
    headers = {name: value for name, value in response.headers.items() if name.startswith("x-stockyard")}
    assert headers["x-stockyard-model"] == SHOWN
    assert "x-stockyard-provider" not in headers
    assert not VENDORS.search(str(headers))
    assert [call["body"]["model"] for call in upstream.seen(MODEL)] == [MODEL]
    (trace,) = traces(1)
    assert (trace["provider"], trace["model"]) == ("openai", MODEL)
    assert b"gpt-4o-mini-2024-07-18" in bytes(trace["response"])


def test_vectors_tell_of_none_either(client: Client, label: Configure, upstream: Upstream) -> None:
    """Embeddings have no id, and their model is shown by its name."""
    label()
    model = "text-embedding-3-small"
    upstream.script(model, {"body": {"provider": "openai"}})
    response = client.user.post("/v1/embeddings", json={"model": "acme-vectors", "input": "hello"})
    assert response.json()["model"] == "acme-vectors"
    assert set(response.json()) == {"object", "data", "model", "usage"}
    assert len(upstream.seen(model)) == 1


@BOTH
@WIRES
def test_a_refusal_is_said_in_the_products_name(  # noqa: PLR0913, PLR0917 (fixtures)
    client: Client,
    label: Configure,
    configure: Configure,
    upstream: Upstream,
    refused: Refusals,
    traces: Traces,
    path: str,
    stream: bool,
) -> None:
    """Its message, its details, and what errornorm quotes; the trace quotes the provider as it was."""
    label()
    configure("errornorm", keep_original=True)
    message = f"The model `{MODEL}` was not found by OpenAI; see https://platform.openai.com/docs/models."
    upstream.script(MODEL, {"status": 404, "error": {"message": message, "type": "openai_error"}})
    response = client.user.post(path, json={"model": SHOWN, "stream": stream, **ASKED[path]})
    told = refused(response, 404)["error"]
    assert told["message"].removesuffix(".") == (
        "Acme AI: The model `acme-small` was not found by Acme AI; see Acme AI"
    )
    assert told["details"]["provider_message"].startswith("The model `acme-small` was not found by Acme AI")
    assert told["details"].get("provider", "Acme AI") == "Acme AI"
    assert not VENDORS.search(response.text + str(response.headers)), response.text
    (trace,) = traces(1)
    assert "openai" in trace["error"]


@WIRES
def test_a_stream_that_breaks_is_said_so_too(client: Client, label: Configure, upstream: Upstream, path: str) -> None:
    """The event that ends it names no vendor."""
    label()
    upstream.script(MODEL, {"frames": 2, "pause": 0.05, "then": "close"})
    response = client.user.post(path, json={"model": SHOWN, "stream": True, **ASKED[path]})
    assert "Acme AI: " in response.text
    assert not VENDORS.search(response.text.replace("service_tier", ""))


def test_nobody_to_ask_is_said_without_saying_whom(label: Configure, ask: Ask) -> None:
    """Our own refusal lists the providers of this server to everybody else."""
    label(model_names={"gemini-pro": "acme-deep"})
    told = ask("acme-deep").json()["error"]
    assert told["message"] == "No provider is configured for acme-deep"


@BOTH
def test_a_kept_answer_is_the_truth_and_shown_to_each_by_their_names(
    client: Client, label: Configure, configure: Configure, upstream: Upstream, traces: Traces, stream: bool
) -> None:
    """What the cache holds, and the trace of a hit has from there, is what the provider said."""
    configure("cachelayer")
    label()
    assert client.user.post("/v1/chat/completions", json=chat(SHOWN)).headers["x-stockyard-cache"] == "MISS"
    again = client.user.post("/v1/chat/completions", json=chat(SHOWN, stream=stream))
    assert again.headers["x-stockyard-cache"] == "HIT"
    assert again.headers["x-stockyard-model"] == SHOWN
    assert f'"model":"{SHOWN}"' in again.text
    assert MODEL not in again.text
    assert len(upstream.seen(MODEL)) == 1
    assert [json.loads(bytes(trace["response"]))["model"] for trace in traces(2)] == [MODEL, MODEL]


def test_a_stand_in_is_shown_by_its_name(
    ask: Ask, label: Configure, configure: Configure, upstream: Upstream, traces: Traces
) -> None:
    """And one without a name by the name the caller asked for."""
    configure("retrypilot", enabled=False)
    configure(
        "failover", providers=["openai", "groq"], models={MODEL: {"groq": "llama"}, "gpt-4o": {"groq": "mixtral"}}
    )
    label()
    upstream.script(MODEL, {"status": 500})
    upstream.script("gpt-4o", {"status": 500})
    assert ask(SHOWN).json()["model"] == "acme-fast"
    answer = ask("gpt-4o")
    assert (answer.json()["model"], answer.headers["x-stockyard-model"]) == ("gpt-4o", "gpt-4o")
    assert [(t["provider"], t["model"]) for t in traces(2)] == [("groq", "llama"), ("groq", "mixtral")]


def test_an_alias_may_have_a_name(ask: Ask, label: Configure, configure: Configure, upstream: Upstream) -> None:
    """Names of ours are read first, and lead to whatever the alias means today."""
    configure("modelalias", aliases=[{"alias": "house", "model": "gpt-4o"}])
    label(model_names={"house": "acme-house"})
    answer = ask("acme-house")
    assert (answer.json()["model"], answer.headers["x-stockyard-model"]) == ("acme-house", "acme-house")
    assert len(upstream.seen("gpt-4o")) == 1


def test_each_tenant_sees_its_own_names(client: Client, label: Configure) -> None:
    """A user's tenant is the operator's word, whatever project they name; others are shown a project's, or ours."""
    user = client.admin.get("/api/auth/users").json()["users"][0]["id"]
    mine = {"id": "one", "users": [user], "product_name": "One", "model_names": {MODEL: "one-small"}}
    other = {"id": "two", "product_name": "Two", "model_names": {MODEL: "two-small"}}
    label(tenants=[mine, other])

    def shown(caller: Caller, project: str) -> str:
        body, headers = chat(MODEL), {"X-Project": project}
        return str(caller.post("/v1/chat/completions", json=body, headers=headers).json()["model"])

    by_user = {project: shown(client.user, project) for project in ("one", "two", "else")}
    by_admin = {project: shown(client.admin, project) for project in ("one", "two", "else")}
    assert set(by_user.values()) == {"one-small"}
    assert by_admin == {"one": "one-small", "two": "two-small", "else": SHOWN}
    listed = {m["id"] for m in client.user.get("/v1/models", headers={"X-Project": "two"}).json()["data"]}
    assert "one-small" in listed
    assert not {"two-small", SHOWN, MODEL} & listed


def test_the_list_of_models_has_the_names_shown(client: Client, label: Configure) -> None:
    """Each once, owned by the product; and one by one. A name that is shown in another's place is not there."""
    label()
    models = client.user.get("/v1/models").json()["data"]
    names = [model["id"] for model in models]
    assert SHOWN in names
    assert MODEL not in names
    assert len(names) == len(set(names))
    assert {model["owned_by"] for model in models} == {"Acme AI"}
    assert client.user.get(f"/v1/models/{SHOWN}").json()["id"] == SHOWN
    assert client.user.get(f"/v1/models/{MODEL}").status_code == 404
    label(list_only_named=True, product_name="")
    only = client.user.get("/v1/models").json()["data"]
    assert {model["id"] for model in only} == {SHOWN, "acme-vectors"}
    assert {model["owned_by"] for model in only} == {"Yardmaster"}


def test_the_provider_is_told_where_it_is_wanted(ask: Ask, label: Configure) -> None:
    """In its header; the model is shown by its name all the same."""
    label(hide_provider_headers=False)
    headers = ask(SHOWN).headers
    assert (headers["x-stockyard-provider"], headers["x-stockyard-model"]) == ("openai", SHOWN)


@BOTH
def test_a_repetition_is_answered_alike(ask: Ask, label: Configure, upstream: Upstream, stream: bool) -> None:
    """Under its key: the answer as it was shown, and a refusal as it was said."""
    label()
    upstream.script(MODEL, {"body": TELLING})
    upstream.script("llama", {"status": 400, "error": {"message": "Groq says no"}})
    first, again = (ask(SHOWN, stream=stream, headers={"Idempotency-Key": "k-1"}) for _ in range(2))
    assert again.headers["idempotency-replayed"] == "true"
    assert again.text == first.text
    assert not VENDORS.search(again.text + str(dict(again.headers)))
    headers = {"Idempotency-Key": "k-2", "X-Provider": "groq"}
    refused = [ask("acme-fast", headers=headers).json()["error"]["message"] for _ in range(2)]
    assert refused == ["Acme AI: Acme AI says no"] * 2


def test_several_models_asked_at_once_stay_unnamed(ask: Ask, label: Configure, configure: Configure) -> None:
    """The one that is answered is shown like any other."""
    label()
    configure("multicall", routes=[{"name": "both", "models": [MODEL, "llama-3"], "strategy": "longest"}])
    for stream in (False, True):
        answer = ask("any", stream=stream, headers={"X-MultiCall-Route": "both"})
        assert text_of(answer)
        assert answer.headers["x-stockyard-model"] in {SHOWN, "any"}
        assert not VENDORS.search(answer.text)


@BOTH
def test_calls_for_tools_have_ids_of_the_clients_wire(
    client: Client, label: Configure, upstream: Upstream, stream: bool
) -> None:
    """`toolu_` where Anthropic's clients ask, `call_` elsewhere; and the call reads the same."""
    label()
    upstream.script(MODEL, {"tools": 1})
    response = client.user.post("/v1/messages", json={"model": SHOWN, "stream": stream, **ASKED["/v1/messages"]})
    assert '"toolu_0"' in response.text
    assert "call_0" not in response.text
    response = client.user.post("/v1/chat/completions", json=chat(SHOWN, stream=stream))
    calls = [events(response)] if stream else response.json()
    assert "call_0" in json.dumps(calls)


def test_what_is_not_labelled_is_as_it_was(ask: Ask, upstream: Upstream) -> None:
    """Switched off, an answer is the provider's own, to the byte."""
    upstream.script(MODEL, {"body": TELLING})
    answer = ask(MODEL)
    assert answer.json()["system_fingerprint"] == "fp_4471"
    assert answer.headers["x-stockyard-provider"] == "openai"


@pytest.mark.parametrize("name", ["two\r\nlines: 1", "nul\0", "x" * 201])
def test_a_name_fits_a_header(admin: Caller, refused: Refusals, name: str) -> None:
    """It is shown in one, and must not begin another."""
    for config in ({"model_names": {MODEL: name}}, {"tenants": [{"id": "one", "model_names": {MODEL: name}}]}):
        refused(admin.put("/api/proxy/modules/whitelabel", json={"config": config}), 400)


def test_what_was_done_is_counted(ask: Ask, label: Configure, admin: Caller) -> None:
    """Calls that were labelled, and those asked for by a name of ours."""
    label()
    ask(SHOWN)
    ask(MODEL)
    assert admin.get("/api/proxy/modules/whitelabel").json()["stats"] == {"labelled": 2, "translated": 1}
