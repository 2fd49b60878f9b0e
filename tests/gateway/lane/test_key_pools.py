"""Key pools: calls are spread over the keys of a provider, and a refused key rests while its call goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from app.factory import Application
from app.services.resealing import reseal
from gateway.lane.conftest import Ask, chat
from gateway.upstream import Upstream
from support.callers import Caller, Client
from support.envelopes import Refusals
from support.together import at_once

# Nothing here depends on the database.
pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Traces = Callable[..., list[dict[str, Any]]]
Configure = Callable[..., None]
Setting = Callable[..., None]
MODEL, ELSEWHERE = "gpt-4o-mini", "llama-3.1-8b-instant"


@pytest.fixture
def pooled(admin: Caller) -> Setting:
    """Sets the pool as an operator would: `pooled("a", "b", strategy="random")` are two keys of OpenAI."""

    def put(*names: str, provider: str = "openai", weights: tuple[int, ...] = (), **config: Any) -> None:
        made = [{"name": name, "provider": provider, "key": f"sk-pool-{name}-secret"} for name in names]
        keys = [key | {"weight": weight} for key, weight in zip(made, weights or (1,) * len(made), strict=True)]
        body = {"enabled": True, "config": {"keys": keys, **config}}
        answer = admin.put("/api/proxy/modules/keypool", json=body)
        assert answer.status_code == 200, answer.text

    return put


@pytest.fixture(autouse=True)
def single(configure: Configure) -> None:
    """No stand-in, unless a test wants one, and no long waits."""
    configure("failover", enabled=False)
    configure("retrypilot", base_delay="1ms", max_delay="2s")


def used(upstream: Upstream, model: str = MODEL) -> list[str]:
    """The keys that requests came with, by their names in the pool."""
    sent = [seen["headers"]["authorization"].removeprefix("Bearer ") for seen in upstream.seen(model)]
    return [key.removeprefix("sk-pool-").removesuffix("-secret") for key in sent]


def stats(admin: Caller) -> dict[str, dict[str, Any]]:
    """What the module tells of each key."""
    told = admin.get("/api/proxy/modules/keypool").json()["stats"]
    return {key["name"]: key for key in told["keys"]}


def test_keys_take_turns(ask: Ask, upstream: Upstream, pooled: Setting, admin: Caller, traces: Traces) -> None:
    """By their weights, evenly spread, instead of the key in the environment; the trace says which it was."""
    pooled("a", "b", weights=(2, 1))
    for _ in range(6):
        assert ask(MODEL).status_code == 200
    assert Counter(used(upstream)) == {"a": 4, "b": 2}
    assert all({*pair} != {"b"} for pair in pairwise(used(upstream)))
    assert {name: key["calls"] for name, key in stats(admin).items()} == {"a": 4, "b": 2}
    assert [key["under_way"] for key in stats(admin).values()] == [0, 0]
    assert '"keypool"' in str(traces(6)[0]["details"]).replace("'", '"')


@pytest.mark.parametrize(("status", "stream"), [(429, False), (429, True), (401, False), (403, True)])
def test_a_refused_key_rests_and_its_call_goes_on(  # noqa: PLR0913, PLR0917 (what it is proven with)
    ask: Ask, upstream: Upstream, pooled: Setting, admin: Caller, application: Application, status: int, stream: bool
) -> None:
    """At once, with another key; the provider says for how long, else the settings do."""
    pooled("a", "b", cooldown="90s")
    upstream.script(MODEL, {"status": status, "headers": {"retry-after": "30"}}, {})
    response = ask(MODEL, stream=stream)
    assert (response.status_code, response.headers["x-stockyard-attempts"]) == (200, "2")
    assert used(upstream) == ["a", "b"]
    told = stats(admin)["a"]
    assert (told["state"], told["refused"], told["refused_as"]) == ("resting", 1, status)
    longest = 30 if status == 429 else 90
    assert longest - 5 < told["retry_after"] <= longest
    assert [ask(MODEL).status_code for _ in range(3)] == [200] * 3
    assert used(upstream)[2:] == ["b", "b", "b"]
    gateway = application.runtime.gateway
    assert gateway.attempts.breakers.get("openai") is None
    pool, moment = gateway.admissions.pools["openai"], gateway.admissions.pools["openai"].clock()
    pool.clock = lambda: moment + longest + 1
    ask(MODEL)
    ask(MODEL)
    assert {*used(upstream)[5:]} == {"a", "b"}


def test_a_refused_key_opens_no_circuit(
    ask: Ask, upstream: Upstream, pooled: Setting, configure: Configure, application: Application
) -> None:
    """It is the key that is out of quota, and not the provider that is down."""
    configure("failover", circuit_breaker={"failure_threshold": 1})
    pooled("a", "b", "c")
    upstream.script(MODEL, {"status": 429}, {"status": 429}, {})
    assert ask(MODEL).status_code == 200
    assert application.runtime.gateway.attempts.breaker("openai").state == "closed"


@pytest.mark.parametrize(("refusal", "status", "stream"), [(429, 429, False), (401, 503, True)])
def test_when_every_key_rests_the_caller_is_told_for_how_long(  # noqa: PLR0913, PLR0917 (what it is proven with)
    ask: Ask, upstream: Upstream, pooled: Setting, refused: Refusals, refusal: int, status: int, stream: bool
) -> None:
    """Nobody is asked any more; `Retry-After` is when the first of them is free again."""
    pooled("a", "b", cooldown="40s")
    steps = [{"status": refusal, "headers": {"retry-after": wait}} for wait in ("70", "40")]
    upstream.script(MODEL, *steps)
    for asked in (2, 2):
        response = ask(MODEL, stream=stream)
        assert refused(response, status)["error"]["details"] == {"provider": "openai", "reason": "keypool"}
        assert 35 <= int(response.headers["retry-after"]) <= 40
        assert len(upstream.seen(MODEL)) == asked


def test_another_provider_stands_in_when_every_key_rests(
    ask: Ask, upstream: Upstream, pooled: Setting, configure: Configure
) -> None:
    """A pool comes before failover, and not in its place."""
    configure("failover", models={MODEL: {"groq": ELSEWHERE}})
    pooled("a", "b")
    upstream.script(MODEL, {"status": 429})
    for _ in range(2):
        assert ask(MODEL).headers["x-stockyard-provider"] == "groq"
    assert used(upstream) == ["a", "b"]
    assert used(upstream, ELSEWHERE) == ["sk-groq-canary"] * 2


def test_what_is_not_the_keys_fault_is_tried_again_with_the_same_key(
    ask: Ask, upstream: Upstream, pooled: Setting, admin: Caller, refused: Refusals
) -> None:
    """A provider that fails would fail with every key; a mistake of the caller's is one with every key, too."""
    pooled("a", "b")
    upstream.script(MODEL, {"status": 500}, {"status": 500}, {})
    assert ask(MODEL).status_code == 200
    assert used(upstream) == ["a", "a", "a"]
    refused(ask(upstream.script(ELSEWHERE, {"status": 404}), headers={"X-Provider": "openai"}), 404)
    assert used(upstream, ELSEWHERE) == ["b"]
    assert {key["state"] for key in stats(admin).values()} == {"ready"}


def test_a_provider_may_have_no_key_but_its_pools(
    client: Client, upstream: Upstream, pooled: Setting, refused: Refusals
) -> None:
    """Its address is known, its key comes from the pool: callers reach it, and operators see that it is set up."""
    body = chat("command-r")
    path, named = "/v1/chat/completions", {"X-Provider": "cohere"}
    refused(client.user.post(path, json=body, headers=named), 503, "circuit_open")
    pooled("only", provider="Cohere")
    assert client.user.post(path, json=body, headers=named).status_code == 200
    assert used(upstream, "command-r") == ["only"]
    found = client.admin.get("/api/proxy/providers", params={"configured": "true"}).json()["providers"]
    assert "cohere" in {provider["name"] for provider in found}
    assert client.admin.put("/api/proxy/modules/keypool", json={"enabled": False}).status_code == 200
    refused(client.user.post(path, json=body, headers=named), 503, "circuit_open")


@pytest.fixture(autouse=True)
def _an_address_without_a_key(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COHERE_BASE_URL", upstream.url("cohere"))


def test_calls_with_keys_of_their_own_pass_by_the_pool(client: Client, upstream: Upstream, pooled: Setting) -> None:
    """Whoever brings a key pays with it; a key of the pool is never lent to them."""
    pooled("a")
    client.bearing("sk-raw-0123456789").post("/v1/chat/completions", json=chat(MODEL))
    saved = client.user.put("/api/auth/me/providers/openai", json={"api_key": "sk-brought-0123456789"})
    assert saved.status_code == 200, saved.text
    client.user.post("/v1/chat/completions", json=chat(MODEL))
    assert used(upstream) == ["sk-raw-0123456789", "sk-brought-0123456789"]


def test_the_least_used_key_is_taken(user: Caller, upstream: Upstream, pooled: Setting) -> None:
    """Two slow calls at the same time never wait on one key's quota."""
    pooled("a", "b", strategy="least-used")
    upstream.script(MODEL, {"delay": 0.4})
    for stream in (False, True):
        calls = [lambda s=stream: user.post("/v1/chat/completions", json=chat(MODEL, stream=s)) for _ in range(2)]
        assert [answer.status_code for answer in at_once(*calls)] == [200, 200]
        assert {*used(upstream)[-2:]} == {"a", "b"}


def test_a_resting_key_rests_on_when_settings_change(
    ask: Ask, upstream: Upstream, pooled: Setting, admin: Caller
) -> None:
    """A change of something else must not send calls to a key that was just refused; one taken out is gone."""
    pooled("a", "b", "c")
    upstream.script(MODEL, {"status": 429, "headers": {"retry-after": "30"}}, {})
    ask(MODEL)
    pooled("a", "b", "c", strategy="random", weights=(1, 1, 0))
    assert {name: key["state"] for name, key in stats(admin).items()} == {"a": "resting", "b": "ready"}
    assert {ask(MODEL).status_code for _ in range(4)} == {200}
    assert used(upstream)[2:] == ["b"] * 4


def test_a_pool_outlives_its_sealing_key(
    ask: Ask, upstream: Upstream, pooled: Setting, application: Application
) -> None:
    """After a rotation its keys are sealed anew, and once the old sealing key is gone they still open."""
    pooled("a", "b")
    secrets, engine = application.runtime.secrets, application.runtime.engine
    held = secrets._held
    object.__setattr__(held, "keyring", dict(held.keyring) | {"k9": b"9" * 32})
    object.__setattr__(held, "current", "k9")
    told: list[tuple[int, int]] = []
    outcome = reseal(engine, secrets, lambda *done: told.append(done))
    assert (outcome.resealed, outcome.failed, told[-1]) == (2, 0, (2, 2))
    object.__setattr__(held, "keyring", {"k9": b"9" * 32})
    application.runtime.gateway.reload()
    assert [ask(MODEL).status_code for _ in range(2)] == [200, 200]
    assert used(upstream) == ["a", "b"]
    assert reseal(engine, secrets, lambda *_: None).resealed == 0


def test_no_secret_of_the_pool_is_told(
    ask: Ask, upstream: Upstream, pooled: Setting, client: Client, traces: Traces, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither by a provider that quotes the key, nor in statistics, settings, traces or logs."""
    pooled("a", "b")
    told_off = {"status": 401, "error": {"message": "no such key: @KEY@"}}
    upstream.script(MODEL, told_off, {"status": 400, "error": {"message": "bad request with @KEY@"}})
    told = ask(MODEL).text + str(traces(1)) + caplog.text
    for path in ("/api/proxy/modules/keypool", "/api/proxy/modules", "/api/config", "/api/config/export"):
        told += client.admin.get(path).text
    assert "[redacted]" in told
    assert "does not accept the key 'a'" in told
    assert "-secret" not in told
