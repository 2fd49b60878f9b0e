"""The gateway's modules: what an operator reads is what is in force, and what they set holds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select

from app.gateway.modules.catalogue import CATALOGUE, defaults
from models.base import transaction
from models.gateway import ModuleState
from support.callers import Client
from support.envelopes import Refusals
from support.people import Promised

MODULES = "/api/proxy/modules"
CACHE = f"{MODULES}/cachelayer"
FAILOVER = f"{MODULES}/failover"
QUESTION = {"model": "sandbox", "messages": [{"role": "user", "content": "Is the cache on?"}]}


def ask(client: Client) -> str:
    """The cache's word on one and the same question."""
    response = client.user.post("/v1/chat/completions", json=QUESTION)
    assert response.status_code == 200, response.text
    return str(response.headers["x-stockyard-cache"])


def test_every_module_is_listed_by_priority(admin: Any, promised: Promised) -> None:
    """A page that left some out would hide what an operator may want to switch on."""
    body = promised(admin.get(MODULES))
    assert [m["name"] for m in body["modules"]] == list(CATALOGUE)
    assert body["count"] == body["total"] == len(CATALOGUE)
    assert body["enabled"] == sum(m["enabled"] for m in body["modules"]) == 10


def test_the_list_is_filtered_and_paged(admin: Any, promised: Promised) -> None:
    """Each filter narrows, together they narrow more, and `has_more` is true exactly while rows follow."""
    wanted = {"implemented": "true", "enabled": "false"}
    found = {m["name"] for m in promised(admin.get(MODULES, params=wanted))["modules"]}
    assert found == {entry.name for entry in CATALOGUE.values() if entry.implemented and not entry.enabled}
    routing = promised(admin.get(MODULES, params={"category": "routing", "limit": 1, "offset": 1}))
    assert (routing["count"], routing["has_more"]) == (1, True)
    assert {m["category"] for m in routing["modules"]} == {"routing"}
    last = promised(admin.get(MODULES, params={"limit": 10, "offset": len(CATALOGUE) - 1}))
    assert (last["count"], last["has_more"]) == (1, False)


def test_a_category_that_does_not_exist_is_refused(admin: Any, refused: Refusals) -> None:
    """An empty list would read as "none of them is on"."""
    refused(admin.get(MODULES, params={"category": "nonsense"}), 400, "bad_request")


def test_settings_are_for_operators(user: Any, anonymous: Any, refused: Refusals) -> None:
    """The original let anybody switch modules; a user of this server may not even look."""
    refused(anonymous.put(CACHE, json={"enabled": True}), 401, "unauthorized")
    refused(user.put(CACHE, json={"enabled": True}), 403, "forbidden")
    refused(user.get(MODULES), 403, "forbidden")


def test_a_toggle_holds_from_the_next_call(client: Client, promised: Promised) -> None:
    """No restart, and no call in between: off, on and off again, each at once."""
    assert [ask(client), ask(client)] == ["MISS", "MISS"]
    body = promised(client.admin.put(CACHE, json={"enabled": True}))
    assert (body["status"], body["module"], body["enabled"]) == ("updated", "cachelayer", True)
    assert [ask(client), ask(client)] == ["MISS", "HIT"]
    client.admin.put(CACHE, json={"enabled": False})
    assert [ask(client), ask(client)] == ["MISS", "MISS"]


def test_an_alias_is_answered_with_the_public_name(admin: Any, promised: Promised) -> None:
    """Older clients say `cache`; what they read back must be what everything else calls it."""
    assert promised(admin.put(f"{MODULES}/cache", json={"config": {"ttl": "5m"}}))["module"] == "cachelayer"
    body = promised(admin.get(f"{MODULES}/cache"))
    assert (body["name"], body["config"]["ttl"]) == ("cachelayer", "5m")
    assert body == promised(admin.get(CACHE))


def test_an_unknown_module_is_not_made(admin: Any, refused: Refusals) -> None:
    """A typing error must not look like success."""
    refused(admin.get(f"{MODULES}/cachelayr"), 404, "not_found")
    refused(admin.put(f"{MODULES}/cachelayr", json={"enabled": True}), 404, "not_found")


def test_settings_merge_and_null_is_the_default(admin: Any, promised: Promised) -> None:
    """Whoever sets one key must not lose another; a key beside `config` is one too, as in the product's own readme."""
    admin.put(CACHE, json={"config": {"ttl": "5m", "max_entries": 7}})
    body = promised(admin.put(CACHE, json={"enabled": True, "ttl": 300}))
    assert body["config"] == defaults("cachelayer") | {"ttl": 300, "max_entries": 7}
    body = promised(admin.put(CACHE, json={"config": {"ttl": None}}))
    assert body["config"] == defaults("cachelayer") | {"max_entries": 7}
    body = promised(admin.put(FAILOVER, json={"config": {"circuit_breaker": {"failure_threshold": 2}}}))
    assert body["config"]["circuit_breaker"] == {"failure_threshold": 2, "recovery_timeout": "30s"}


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"config": {"ttl": "soon"}}, "body.config.ttl"),
        ({"ttl": "soon"}, "body.ttl"),
        ({"ttx": 1}, "body.ttx"),
        ({"config": {"circuit": {}}}, "body.config.circuit"),
        ({"config": {"max_entries": 0}}, "body.config.max_entries"),
        ({"enabled": "yes"}, "body.enabled"),
    ],
)
def test_a_wrong_setting_is_named_where_it_was_written(admin: Any, refused: Refusals, sent: Any, field: str) -> None:
    """A setting that is not understood must never be stored in silence; the refusal points at it."""
    body = refused(admin.put(CACHE, json=sent), 400, "bad_request")
    assert [issue["field"] for issue in body["error"]["details"]["issues"]] == [field]
    assert admin.get(CACHE).json()["version"] == 0


@pytest.mark.parametrize("depth", [20, 200, 400, 900])
def test_a_body_nested_beyond_reason_is_refused(admin: Any, refused: Refusals, depth: int) -> None:
    """Neither reading nor checking nor merging may run out of stack on what a caller sends."""
    sent = '{"config":{"circuit_breaker":' + '{"a":' * depth + "1" + "}" * (depth + 2)
    refused(admin.put(FAILOVER, content=sent, headers={"content-type": "application/json"}), 400, "bad_request")


def test_what_is_not_built_cannot_be_switched_on(admin: Any, refused: Refusals, promised: Promised) -> None:
    """A toggle that says "on" while no call passes through would be a lie; its settings may be prepared."""
    body = refused(admin.put(f"{MODULES}/semanticcache", json={"enabled": True}), 409, "conflict")
    assert "semanticcache cannot be switched on" in body["error"]["message"]
    prepared = promised(admin.put(f"{MODULES}/semanticcache", json={"config": {"threshold": 0.9}}))
    assert (prepared["enabled"], prepared["config"]["threshold"]) == (False, 0.9)


def test_what_every_call_needs_cannot_be_switched_off(client: Client, refused: Refusals) -> None:
    """Without authgate anybody would spend the operator's money."""
    body = refused(client.admin.put(f"{MODULES}/authgate", json={"enabled": False}), 409, "conflict")
    assert "authgate cannot be switched off" in body["error"]["message"]
    refused(client.anonymous.post("/v1/chat/completions", json=QUESTION), 401, "unauthorized")


def test_an_outdated_change_is_refused(admin: Any, refused: Refusals) -> None:
    """Two operators with the same page open: the second learns of the first instead of undoing their work."""
    read = admin.get(CACHE).headers["etag"]
    changed = admin.put(CACHE, json={"ttl": "5m"}, headers={"if-match": read})
    assert changed.status_code == 200
    late = admin.put(CACHE, json={"ttl": "9m"}, headers={"if-match": read})
    refused(late, 412, "precondition_failed")
    assert late.headers["etag"] == changed.headers["etag"] == admin.get(CACHE).headers["etag"] != read
    assert admin.get(CACHE).json()["config"]["ttl"] == "5m"
    weak = admin.put(CACHE, json={"ttl": "9m"}, headers={"if-match": "W/" + late.headers["etag"]})
    refused(weak, 412, "precondition_failed")
    refused(admin.put(CACHE, json={"ttl": "9m"}, headers={"if-match": "no tag"}), 412, "precondition_failed")
    again = admin.put(CACHE, json={"ttl": "9m"}, headers={"if-match": f'"77", {late.headers["etag"]}'})
    assert again.status_code == admin.put(CACHE, json={"ttl": "8m"}, headers={"if-match": "*"}).status_code == 200


def test_a_change_that_changes_nothing_is_none(client: Client) -> None:
    """Repeating a request must not empty every worker's cache, nor spoil the version somebody holds."""
    client.admin.put(CACHE, json={"enabled": True, "ttl": "5m"})
    ask(client)
    before = client.admin.get(CACHE)
    assert client.admin.put(CACHE, json={"enabled": True, "ttl": "5m"}).headers["etag"] == before.headers["etag"]
    assert ask(client) == "HIT"


def test_concurrent_changes_of_different_keys_all_hold(client: Client) -> None:
    """Eight operators at once, each adding a model: whoever reads, changes and writes would lose seven."""
    names = [f"model-{n}" for n in range(8)]

    def add(name: str) -> int:
        patch = {"config": {"models": {name: {"openai": "gpt-4o"}}}}
        return int(client.admin.put(FAILOVER, json=patch).status_code)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(add, names)) == {200}
    body = client.admin.get(FAILOVER).json()
    assert sorted(body["config"]["models"]) == names
    assert body["version"] == 8


def test_a_secret_is_neither_shown_nor_stored_in_the_clear(client: Client, promised: Promised) -> None:
    """A provider key in a module's settings deserves what every other key gets."""
    secret = "sk-live-0123456789abcdef"
    pool = f"{MODULES}/keypool"
    shown = promised(client.admin.put(pool, json={"keys": [{"name": "one", "key": secret, "provider": "openai"}]}))
    assert [key["name"] for key in shown["config"]["keys"]] == ["one"]
    promised(client.admin.put(pool, json={"cooldown": "90s"}))
    assert secret not in client.admin.get(pool).text + client.admin.get(MODULES).text
    with transaction(client.application.runtime.engine, write=False) as session:
        stored = session.scalar(select(ModuleState.config).where(ModuleState.name == "keypool"))
    assert stored is not None
    assert stored["keys"][0]["key"].startswith("v1.")
    assert secret not in str(stored)
