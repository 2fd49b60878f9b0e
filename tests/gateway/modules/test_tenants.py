"""Tenants and agents in the lane: limits that hold for whom they are meant, whichever worker counts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from app.gateway.counts import Counts, counts_of
from app.gateway.modules.agentguard import KNOWN_S, Agentguard
from app.gateway.steps import Place
from app.problems import Problem
from app.security.principals import Principal
from app.wire.shared_storage import DatabaseStorage
from gateway.lane.conftest import Ask, chat
from gateway.modules.conftest import MODEL
from gateway.upstream import Upstream
from stockyard.conftest import ada
from support.callers import Caller, Client
from support.envelopes import Refusals
from support.together import at_once

__all__ = ["ada"]

Configure = Callable[..., None]
Json = dict[str, Any]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
# One call costs 9 millionths of a dollar (20 tokens in, 10 out) and may cost a few ten-thousandths.
REDIS = os.environ.get("YARDMASTER_TEST_REDIS_URL", "")
SMALL: Json = {"max_tokens": 10}
ONE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")


def tenant(name: str, **limits: Any) -> Json:
    """A listed tenant."""
    return {"id": name, **limits}


def named(caller: Caller, name: str, **fields: Any) -> Any:
    """A call in the name of a tenant."""
    return caller.post("/v1/chat/completions", json=chat(MODEL) | SMALL | fields, headers={"x-tenant-id": name})


@BOTH
def test_a_tenant_makes_as_many_calls_as_it_may(
    client: Client, configure: Configure, upstream: Upstream, refused: Refusals, stream: bool
) -> None:
    """And not one more, until its window ends; another tenant's calls are its own."""
    configure("tenantwall", tenants=[tenant("acme", max_requests=2)])
    answers = [named(client.admin, "acme", stream=stream) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    details = refused(answers[-1], 429, "rate_limited")["error"]["details"]
    assert (details["reason"], details["limit"], details["cap"]) == ("tenantwall", "requests", 2)
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 3600
    assert named(client.admin, "globex", stream=stream).status_code == 200
    assert len(upstream.seen(MODEL)) == 3


@ONE
def test_a_tenant_cannot_be_chosen_by_who_is_not_believed(client: Client, ask: Ask, configure: Configure) -> None:
    """A user who writes another's name is counted as themselves; operators are believed, everybody only if set."""
    configure("tenantwall", tenants=[tenant("acme", max_requests=1)], default_max_requests=3)
    assert [named(client.user, "acme").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert named(client.user, "else").status_code == 429
    assert named(client.admin, "acme").status_code == 200
    configure("tenantwall", tenants=[tenant("acme", max_requests=2)], default_max_requests=3, trust_header="always")
    assert [named(client.user, "acme").status_code for _ in range(2)] == [200, 429]
    configure("tenantwall", tenants=[tenant("acme", max_requests=1)], trust_header="never")
    assert named(client.admin, "acme").status_code == 200


@ONE
def test_a_users_tenant_is_the_operators_word(client: Client, configure: Configure) -> None:
    """Whatever they send; and a made-up project opens no new window."""
    configure(
        "tenantwall",
        tenants=[tenant("globex", users=[1.5]), tenant("acme", max_requests=2, users=[1])],
        trust_header="always",
    )
    asked = [("x-tenant-id", "globex"), ("x-project", "other"), ("x-tenant-id", "third")]
    answers = [client.user.post("/v1/chat/completions", json=chat(MODEL), headers=dict([pair])) for pair in asked]
    assert [answer.status_code for answer in answers] == [200, 200, 429]


@ONE
def test_a_listed_project_is_a_tenant_and_an_invented_one_is_not(ask: Ask, configure: Configure) -> None:
    """Else a caller would have as many windows as they can think of names."""
    configure("tenantwall", tenants=[tenant("blue", max_requests=1)], default_max_requests=2)
    assert [ask(MODEL, headers={"x-project": "blue"}).status_code for _ in range(2)] == [200, 429]
    assert [ask(MODEL, headers={"x-project": f"p{n}"}).status_code for n in range(3)] == [200, 200, 429]
    configure("tenantwall", require_tenant=True, tenants=[tenant("blue")])
    refusal = ask(MODEL).json()["error"]
    assert (refusal["status"], refusal["param"], refusal["details"]) == (403, "X-Tenant-ID", {"reason": "tenantwall"})
    assert ask(MODEL, headers={"x-project": "blue"}).status_code == 200


@ONE
def test_a_tenant_asks_for_its_own_models_only(
    client: Client, configure: Configure, upstream: Upstream, traces: Callable[..., list[Json]], admin: Caller
) -> None:
    """By glob; the trace says whose call it was, and the module how often."""
    configure("tenantwall", tenants=[tenant("acme", allowed_models=["gpt-4o-mini", "mistral-*"])])
    statuses = [named(client.admin, "acme", model=m).status_code for m in (MODEL, "mistral-small", "gpt-4o")]
    assert statuses == [200, 200, 403]
    assert upstream.seen("gpt-4o") == []
    assert "acme" in str(traces(3)[0]["details"])
    assert admin.get("/api/proxy/modules/tenantwall").json()["stats"] == {
        "admitted": 2,
        "unnamed": 0,
        "model": 1,
        "requests": 0,
        "spend": 0,
    }


@BOTH
def test_calls_at_once_never_spend_more_than_a_tenant_has(
    client: Client, configure: Configure, upstream: Upstream, traces: Callable[..., list[Json]], stream: bool
) -> None:
    """The worst case is held before, the cost stays: of thirty calls as many pass as fit, and then some more."""
    limit = 0.0013
    configure("tenantwall", tenants=[tenant("acme", max_spend=limit)])
    answers = at_once(*[lambda: named(client.admin, "acme", stream=stream) for _ in range(30)])
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 429}
    assert sum(trace["cost_nano"] or 0 for trace in traces(30)) <= limit * 1e9
    refusal = next(answer.json()["error"] for answer in answers if answer.status_code == 429)
    assert (refusal["details"]["limit"], refusal["details"]["cap"]) == ("spend", limit)
    assert _again(lambda: named(client.admin, "acme", stream=stream))  # what was not spent is free again


def _again(call: Callable[[], Any]) -> bool:
    """Whether a call passes once what others held is given back, which happens beside them."""
    return any(call().status_code == 200 or time.sleep(0.05) for _ in range(40))


@ONE
def test_what_has_no_price_passes_no_budget_unless_it_may(client: Client, configure: Configure) -> None:
    """Money that cannot be counted cannot be held."""
    configure("tenantwall")
    refusal = named(client.admin, "acme", model="gpt-nobody-knows")
    assert (refusal.status_code, refusal.json()["error"]["details"]["reason"]) == (403, "unpriced_model")
    configure("tenantwall", unpriced="allow")
    assert named(client.admin, "acme", model="gpt-nobody-knows").status_code == 200


def session(name: str) -> dict[str, str]:
    """The header of a session."""
    return {"x-agent-session": name}


@ONE
@BOTH
def test_an_agents_session_ends_after_its_calls(ask: Ask, ada: Any, configure: Configure, stream: bool) -> None:
    """Another session goes on, and so does another account's of the same name; a client does not try again."""
    configure("agentguard", max_calls=2)
    answers = [ask(MODEL, headers=session("s1"), stream=stream) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[-1].headers["x-should-retry"] == "false"
    assert answers[-1].json()["error"]["details"] == {"reason": "agentguard", "limit": "calls", "cap": 2}
    assert ask(MODEL, headers=session("s2"), stream=stream).status_code == 200
    body = chat(MODEL, stream=stream)
    assert ada.caller.post("/v1/chat/completions", json=body, headers=session("s1")).status_code == 200


@BOTH
def test_an_agents_session_spends_no_more_than_it_has(
    ask: Ask, configure: Configure, traces: Callable[..., list[Json]], stream: bool
) -> None:
    """Whatever it asks for at once."""
    configure("agentguard", max_cost=0.0013)
    answers = at_once(*[lambda: ask(MODEL, headers=session("s"), stream=stream, **SMALL) for _ in range(20)])
    assert {answer.status_code for answer in answers} == {200, 429}
    assert sum(trace["cost_nano"] or 0 for trace in traces(20)) <= 1_300_000


@ONE
def test_calls_without_a_session_pass_unless_one_is_needed(ask: Ask, configure: Configure, refused: Refusals) -> None:
    """An operator decides whether an agent can leave its guard behind by leaving out a header."""
    configure("agentguard", max_calls=1)
    assert [ask(MODEL).status_code for _ in range(2)] == [200, 200]
    configure("agentguard", require_session=True)
    assert refused(ask(MODEL), 400)["error"]["param"] == "X-Agent-Session"


@ONE
async def test_a_session_ends_after_its_time(client: Client) -> None:
    """From its first call on, and it is not begun again by waiting a little."""
    runtime, moment = client.application.runtime, [0.0]
    guard = Agentguard(lambda: started + moment[0])
    counts = counts_of(runtime.engine, runtime.settings)
    guard.settle_in(Place(runtime.engine, runtime.settings.data, counts))
    settings = {"max_calls": 0, "max_cost": 0, "max_duration": "30m", "require_session": False, "unpriced": "refuse"}
    step: Any = guard.steps(settings).request
    exchange = _exchange()
    _, ends_at = await counts.add("agentguard:user:1:s:calls", KNOWN_S)
    started = ends_at - KNOWN_S
    for minutes, passes in ((0, True), (29, True), (31, False), (600, False)):
        moment[0] = minutes * 60.0
        assert await _passes(step, exchange) is passes, minutes


async def _passes(step: Any, exchange: Any) -> bool:
    try:
        await step(exchange)
    except Problem as problem:
        return bool(problem.details["limit"] != "duration")
    return True


def _exchange() -> Any:
    """A call of the first user in session `s`."""
    call = SimpleNamespace(headers=session("s"), principal=Principal("key", user_id=1))
    return SimpleNamespace(call=call, details={})


@pytest.mark.parametrize("redis", ["", REDIS], ids=["database", "redis"])
async def test_two_workers_count_as_one(client: Client, redis: str, request: pytest.FixtureRequest) -> None:
    """What one worker counted, the next one knows: also what is given back beside the calls."""
    if "redis" in request.node.name and not redis:
        pytest.skip("YARDMASTER_TEST_REDIS_URL names no server")
    runtime, key = client.application.runtime, uuid4().hex
    one, other = (counts_of(runtime.engine, replace(runtime.settings, redis_url=redis)) for _ in range(2))
    assert [(await one.add(key, 5, 5))[0], (await other.add(key, 5, 5))[0]] == [5, 10]
    one.later(key, 5, -4)
    await one.flush()
    assert (await other.add(key, 5, 0))[0] == 6


@ONE
async def test_what_is_given_back_is_not_lost_with_a_moment_of_the_store(client: Client) -> None:
    """It is brought again with the next: money that nobody spends must not stay held."""
    runtime, broken = client.application.runtime, [True]
    store = DatabaseStorage(engine=runtime.engine)

    class Away(DatabaseStorage):
        def count(self, key: str, expiry: int, amount: int = 1) -> tuple[int, float]:
            if broken[0]:
                raise OSError("away")
            return store.count(key, expiry, amount)

    counts = Counts(lambda: Away(engine=runtime.engine))
    counts.later("k", 60, -4)
    await counts.flush()
    broken[0] = False
    counts.later("k", 60, 1)
    await counts.flush()
    assert store.get("k") == -3
