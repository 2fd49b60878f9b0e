"""An operator's rules over who calls, for what, when and at what cost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.lane.conftest import Ask, chat
from gateway.modules.conftest import MODEL
from gateway.upstream import Upstream
from stockyard.conftest import ada
from support.callers import Client
from support.envelopes import Refusals
from support.people import Person

__all__ = ["ada"]

Configure = Callable[..., None]
Traces = Callable[..., list[dict[str, Any]]]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
ONE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
NANO = "gpt-4.1-nano"


def rule(name: str, effect: str = "deny", **conditions: Any) -> dict[str, Any]:
    """A rule."""
    return {"name": name, "effect": effect, **conditions}


def denied_by(refused: Refusals, answer: Any) -> str:
    """The rule that denied the call."""
    details = refused(answer, 403, "forbidden")["error"]["details"]
    assert details["reason"] == "policyengine"
    return str(details["rule"])


@BOTH
def test_the_first_rule_that_fits_decides(
    ask: Ask, configure: Configure, upstream: Upstream, client: Client, refused: Refusals, stream: bool
) -> None:
    """It lets pass, denies, warns, or asks another model; what fits no rule passes."""
    rules = [
        rule("always nano", "allow", models=["gpt-4.1-nano"]),
        rule("no 4.1", models=["gpt-4.1*"]),
        rule("watched", "warn", models=["o3*"]),
        rule("cheaper", "rewrite", models=["gpt-4o"], model=MODEL),
    ]
    configure("policyengine", rules=rules)
    assert ask(NANO, stream=stream).headers["x-stockyard-model"] == NANO
    assert denied_by(refused, ask("gpt-4.1-mini", stream=stream)) == "no 4.1"
    assert denied_by(refused, ask("openai/gpt-4.1-mini", stream=stream)) == "no 4.1"
    assert ask("o3-mini", stream=stream).headers["x-stockyard-warning"] == "policyengine.watched"
    changed = ask("gpt-4o", stream=stream, headers={"X-Provider": "openai"})
    assert (changed.headers["x-stockyard-model"], upstream.seen("gpt-4o")) == (MODEL, [])
    assert ask(MODEL, stream=stream).status_code == 200
    told = client.admin.get("/api/proxy/modules/policyengine").json()["stats"]
    assert told == {"allowed": 2, "denied": 2, "warned": 1, "rewritten": 1}


@ONE
def test_rules_mean_callers_and_calls(
    ask: Ask, configure: Configure, client: Client, ada: Person, refused: Refusals
) -> None:
    """A user, a key, a project, an operation: all that a rule names must be true."""
    rules = [
        rule("ada", users=[ada.id], operations=["chat"]),
        rule("her key", keys=[ada.key_id], operations=["embeddings"]),
        rule("trial", projects=["trial-*"]),
    ]
    configure("policyengine", rules=rules)
    assert denied_by(refused, ada.caller.post("/v1/chat/completions", json=chat(MODEL))) == "ada"
    vectors = {"model": "text-embedding-3-small", "input": "hi"}
    assert denied_by(refused, ada.caller.post("/v1/embeddings", json=vectors)) == "her key"
    assert ask(MODEL).status_code == 200
    assert denied_by(refused, ask(MODEL, headers={"X-Project": "trial-7"})) == "trial"
    configure("policyengine", rules=[rule("ours", "allow", users=[ada.id])], default="deny")
    assert ada.caller.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
    for caller in (client.user, client.bearing("sk-raw-0123456789")):
        assert denied_by(refused, caller.post("/v1/chat/completions", json=chat(MODEL))) == ""


@ONE
def test_a_rule_may_mean_dear_calls_and_certain_hours(
    ask: Ask, configure: Configure, client: Client, refused: Refusals, traces: Traces
) -> None:
    """By the worst case a budget would hold; a call without a price counts as dear unless it is said not to."""
    configure("policyengine", rules=[rule("dear", cost_above=0.001), rule("night", hours="22-06")])
    engine = client.application.runtime.gateway.modules._made["policyengine"]
    engine.clock = lambda: datetime(2026, 3, 2, 12, tzinfo=UTC)
    assert ask(MODEL, max_tokens=10).status_code == 200
    assert denied_by(refused, ask(MODEL, max_tokens=10_000)) == "dear"
    assert denied_by(refused, ask("house-model-nobody-prices", max_tokens=10)) == "dear"
    engine.clock = lambda: datetime(2026, 3, 2, 23, tzinfo=UTC)
    assert denied_by(refused, ask(MODEL, max_tokens=10)) == "night"
    configure("policyengine", rules=[rule("dear", cost_above=0.001)], unpriced="misses")
    assert ask("house-model-nobody-prices", max_tokens=10).status_code == 200
    assert [row["status"] for row in traces(5)] == ["ok", "error", "error", "error", "ok"]


@ONE
def test_several_models_at_once_are_judged_one_by_one(
    ask: Ask, configure: Configure, upstream: Upstream, refused: Refusals
) -> None:
    """One that is denied is enough; a header that leads to more models opens no door."""
    configure("multicall", routes=[{"name": "race", "models": [MODEL, "gpt-4o"]}])
    configure("modelalias", aliases=[{"alias": "house", "model": "gpt-4o"}])
    configure("policyengine", rules=[rule("no 4o", models=["gpt-4o"]), rule("rest", "allow")])
    assert denied_by(refused, ask(MODEL, headers={"X-MultiCall-Route": "race"})) == "no 4o"
    assert denied_by(refused, ask("house")) == "no 4o"
    assert upstream.seen("gpt-4o") == []
    assert ask(MODEL).status_code == 200


@ONE
def test_a_key_of_ones_own_keeps_its_model(client: Client, configure: Configure, refused: Refusals) -> None:
    """It opens no other provider, so there it is not rewritten, only denied."""
    own = client.bearing("sk-raw-0123456789")
    configure("policyengine", rules=[rule("cheaper", "rewrite", model="claude-sonnet-4-5")])
    answer = own.post("/v1/chat/completions", json=chat(MODEL))
    assert answer.headers["x-stockyard-model"] == MODEL
    configure("policyengine", rules=[rule("none")])
    assert denied_by(refused, own.post("/v1/chat/completions", json=chat(MODEL))) == "none"
