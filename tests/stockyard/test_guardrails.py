"""Guardrails as an operator keeps them: rules, a dry run, what they found."""

from __future__ import annotations

import time
from typing import Any

import pytest

from support.callers import Client
from support.envelopes import Refusals
from support.people import Promised

RULES = "/api/guardrails"
TRIAL = "/api/guardrails/test"
STATS = "/api/guardrails/stats"
EVENTS = "/api/guardrails/events"
BIRDS = {"name": "birds", "pattern": "blue(bird)+", "action": "redact"}


def test_a_rule_is_made_shown_changed_and_removed(admin: Any, promised: Promised, refused: Refusals) -> None:
    """And each step is in what is read afterwards."""
    made = promised(admin.post(RULES, json=BIRDS), 201)
    rule = {name: value for name, value in made.items() if name != "status"}
    assert rule | BIRDS | {"type": "custom", "project": "*", "priority": 0, "enabled": True, "description": ""} == rule
    place = f"{RULES}/{rule['id']}"
    assert promised(admin.get(place)) == rule
    changed = promised(admin.put(place, json={"enabled": False, "priority": 7}))
    assert (changed["status"], changed["enabled"], changed["priority"]) == ("updated", False, 7)
    promised(admin.post(RULES, json=BIRDS | {"name": "more", "project": "zoo"}), 201)
    listed = promised(admin.get(RULES))
    assert [found["name"] for found in listed["rules"]] == ["birds", "more"]
    assert promised(admin.get(RULES, params={"project": "farm"}))["total"] == 1
    assert promised(admin.get(RULES, params={"project": "zoo"}))["total"] == 2
    assert promised(admin.delete(place)) == {"status": "deleted"}
    for response in (admin.get(place), admin.put(place, json={"priority": 1}), admin.delete(place)):
        refused(response, 404, "not_found")


@pytest.mark.parametrize("pattern", ["(", "a*", r"(a)\1", "(?=a)", "x{5000}"])
def test_a_pattern_that_cannot_be_used_is_refused(admin: Any, refused: Refusals, pattern: str) -> None:
    """At once and by its field; nothing is stored, on making and on changing alike."""
    number = admin.post(RULES, json=BIRDS).json()["id"]
    for response in (
        admin.post(RULES, json=BIRDS | {"name": "other", "pattern": pattern}),
        admin.put(f"{RULES}/{number}", json={"pattern": pattern}),
    ):
        body = refused(response, 400, "bad_request")
        assert [issue["field"] for issue in body["error"]["details"]["issues"]] == ["body.pattern"]
    assert [rule["pattern"] for rule in admin.get(RULES).json()["rules"]] == [BIRDS["pattern"]]


def test_a_name_is_given_once(admin: Any, refused: Refusals) -> None:
    """Events name rules; two of a name could not be told apart."""
    admin.post(RULES, json=BIRDS)
    other = admin.post(RULES, json=BIRDS | {"name": "other"}).json()["id"]
    refused(admin.post(RULES, json=BIRDS), 409, "conflict")
    refused(admin.put(f"{RULES}/{other}", json={"name": "birds"}), 409, "conflict")


def test_guardrails_are_for_operators(user: Any, anonymous: Any, refused: Refusals) -> None:
    """Who may read a pattern knows how to get past it."""
    refused(user.get(RULES), 403, "forbidden")
    refused(anonymous.post(RULES, json=BIRDS), 401, "unauthorized")


def test_a_trial_tells_and_leaves_nothing(admin: Any, promised: Promised) -> None:
    """The original counted dry runs and fired webhooks for them."""
    admin.post(RULES, json=BIRDS)
    admin.post(RULES, json={"name": "stop", "pattern": "stop", "action": "block", "project": "zoo"})
    body = promised(admin.post(TRIAL, json={"text": "a BlueBird, a bluebirdbird"}))
    assert body == {
        "matches": [{"rule_name": "birds", "rule_type": "custom", "action": "redact", "match": "BlueBird"}],
        "count": 1,
        "would": "redact",
        "redacted_text": "a [REDACTED], a [REDACTED]",
    }
    assert promised(admin.post(TRIAL, json={"text": "stop"}))["would"] == "pass"
    blocked = promised(admin.post(TRIAL, json={"text": "stop", "project": "zoo"}))
    assert (blocked["would"], "redacted_text" in blocked) == ("block", False)
    assert promised(admin.get(STATS)) == {"blocked": 0, "flagged": 0, "redacted": 0, "rule_hits": {}}
    assert promised(admin.get(EVENTS))["total"] == 0


def test_what_rules_find_is_counted_and_told_without_the_text(client: Client, promised: Promised) -> None:
    """An event names rule, way and call; the text that matched is nowhere in it."""
    for action in ("redact", "warn", "log", "block"):
        body = {"name": action, "pattern": f"{action}-canary", "action": action, "type": "pii"}
        client.admin.post(RULES, json=body)
    said = "redact-canary redact-canary warn-canary log-canary"
    for text in (said, said, "block-canary"):
        body = {"model": "sandbox", "messages": [{"role": "user", "content": text}]}
        client.user.post("/v1/chat/completions", json=body, headers={"x-project": "zoo"})
    events = _events(client, "block")
    assert promised(client.admin.get(EVENTS, params={"limit": 3}))["total"] == len(events)
    assert [e["rule_name"] for e in events if e["direction"] == "input"].count("redact") == 2
    newest = events[0]
    assert (newest["rule_name"], newest["action"], newest["direction"], newest["project"]) == (
        "block",
        "block",
        "input",
        "zoo",
    )
    assert "canary" not in str(events)
    stats = promised(client.admin.get(STATS))
    assert (stats["blocked"], stats["rule_hits"]["redact"]) == (1, stats["redacted"])
    assert stats["redacted"] >= 4
    assert promised(client.admin.get(EVENTS, params={"rule": "block"}))["total"] == 1
    assert promised(client.admin.get(EVENTS, params={"project": "farm"}))["total"] == 0


def _events(client: Client, awaited: str) -> list[dict[str, Any]]:
    """The events, once the recorder has written one of this rule."""
    deadline = time.monotonic() + 5
    found: list[dict[str, Any]] = []
    while awaited not in {event["rule_name"] for event in found} and time.monotonic() < deadline:
        found = client.admin.get(EVENTS).json()["events"]
        time.sleep(0.05)
    return found
