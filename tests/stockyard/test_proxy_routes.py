"""Routes, the chain and what modules count: the page an operator reads before they ask "why did it go there?"."""

from __future__ import annotations

from typing import Any

import pytest

from app.gateway.chain import ORDER
from app.gateway.modules.catalogue import CATALOGUE
from app.gateway.modules.registry import MAKERS
from app.gateway.providers import builtin_rules
from app.services.observing.switched import BESIDE, OBSERVERS
from app.services.vault.closing import NAME as VAULT
from models.base import transaction
from models.gateway import Route
from support.callers import Client
from support.people import Promised

ROUTES = "/api/proxy/routes"
NOTHING = {"attempts": 0, "repeated": 0, "over_budget": 0, "downgraded": 0}
QUESTION = {"model": "sandbox", "messages": [{"role": "user", "content": "Hello"}]}


def store(client: Client, *rules: Route) -> None:
    """Put rules into the database."""
    with transaction(client.application.runtime.engine) as session:
        session.add_all(rules)


def counted(client: Client, module: str) -> dict[str, Any]:
    """What a module counted."""
    stats: dict[str, Any] = client.admin.get(f"/api/proxy/modules/{module}").json()["stats"]
    return stats


def test_stored_rules_come_before_built_in_ones(client: Client, promised: Promised) -> None:
    """In the order they are tried, disabled ones shown as such."""
    late = Route(path="gpt-*", provider="azure", priority=50)
    early = Route(path="o3*", provider="openrouter", model="openai/o3", priority=10, enabled=False)
    store(client, late, early)
    body = promised(client.admin.get(ROUTES))
    first, second, third = body["routes"][:3]
    assert (first["path"], first["model"], first["enabled"], first["priority"]) == ("o3*", "openai/o3", False, 10)
    assert (second["path"], second["source"], third["source"]) == ("gpt-*", "stored", "builtin")
    assert [rule["order"] for rule in body["routes"]] == list(range(1, body["total"] + 1))
    assert body["total"] == 2 + len(builtin_rules()) == client.admin.get("/api/proxy/status").json()["routes"]


def test_the_last_rule_takes_whatever_is_left(admin: Any, promised: Promised) -> None:
    """The page must not end before the rule that decides most unknown names."""
    assert promised(admin.get(ROUTES))["routes"][-1]["path"] == "*"
    assert promised(admin.get(ROUTES, params={"limit": 1}))["has_more"]


def test_the_chain_shows_who_acts_when(admin: Any, promised: Promised) -> None:
    """Disabled modules keep their place, so that switching one on surprises nobody."""
    body = promised(admin.get("/api/proxy/chain"))
    assert [link["name"] for link in body["chain"]] == list(ORDER)
    assert [link["order"] for link in body["chain"]] == list(range(1, len(ORDER) + 1))
    off = {link["name"] for link in body["chain"] if not link["enabled"]}
    assert off == {"cachelayer", "queuepriority", "keypool", VAULT, *MAKERS, *OBSERVERS, *BESIDE} - {"trust_enforce"}
    assert (body["chain_length"], body["total_modules"]) == (len(ORDER), len(CATALOGUE))


def test_the_status_counts_what_is_on(admin: Any, promised: Promised) -> None:
    """The numbers move with the toggles."""
    before = promised(admin.get("/api/proxy/status"))
    admin.put("/api/proxy/modules/cachelayer", json={"enabled": True})
    after = promised(admin.get("/api/proxy/status"))
    assert (before["live_chain"], after["live_chain"]) == (10, 11)
    assert after["enabled_modules"] == before["enabled_modules"] + 1
    assert (after["providers"], after["total_modules"]) == (1, len(CATALOGUE))


def test_modules_count_what_they_did(client: Client) -> None:
    """Real numbers of real calls: without them nobody knows whether a module earns its place."""
    client.admin.put("/api/proxy/modules/cachelayer", json={"enabled": True})
    alias = {"aliases": [{"alias": "house", "model": "sandbox"}]}
    client.admin.put("/api/proxy/modules/modelalias", json={"config": alias})
    for question in (QUESTION, QUESTION, QUESTION | {"model": "house"}, QUESTION | {"model": "sandbox-fail-400"}):
        client.user.post("/v1/chat/completions", json=question)
    cache = counted(client, "cachelayer")
    assert (cache["hits"], cache["misses"], cache["entries"]) == (1, 3, 2)
    assert cache["bytes"] > 0
    assert counted(client, "modelalias") == {"aliases": 1, "renamed": 1}
    assert (counted(client, "logging")["logged"], counted(client, "logging")["errors"]) == (4, 1)
    assert counted(client, "spend")["settled"] == 4
    assert counted(client, "retrypilot") == NOTHING | {"attempts": 3}
    assert counted(client, "semanticcache") == {}


def test_repetitions_are_counted(client: Client) -> None:
    """A provider that only answers the second time is a bill in waiting."""
    client.admin.put("/api/proxy/modules/retrypilot", json={"max_retries": 1, "base_delay": "1ms"})
    client.user.post("/v1/chat/completions", json=QUESTION | {"model": "sandbox-fail-500"})
    assert counted(client, "retrypilot") == NOTHING | {"attempts": 2, "repeated": 1}


@pytest.mark.settings(rate_limits="on")
def test_the_shield_counts_whom_it_refused(client: Client) -> None:
    """Limits that bite are seen here before the complaints arrive."""
    client.admin.put("/api/proxy/modules/rateshield", json={"rpm": 1, "burst": 1})
    statuses = [client.user.post("/v1/chat/completions", json=QUESTION).status_code for _ in range(3)]
    assert statuses == [200, 429, 429]
    assert counted(client, "rateshield") == {"admitted": 1, "refused": 2}
