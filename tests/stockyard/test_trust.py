"""Trust policies as an operator keeps them."""

from __future__ import annotations

from typing import Any

import pytest

from support.envelopes import Refusals
from support.people import Promised

POLICIES = "/api/trust/policies"
SSN = r"\d{3}-\d{2}-\d{4}"
FLAT = {"name": "no-pii", "type": "block", "pattern": SSN}


def test_a_policy_is_made_shown_changed_and_removed(admin: Any, promised: Promised, refused: Refusals) -> None:
    """And each step is in what is read afterwards."""
    made = promised(admin.post(POLICIES, json=FLAT | {"description": "numbers"}), 201)
    policy = {name: value for name, value in made.items() if name != "status"}
    place = f"/api/trust/policies/{policy['id']}"
    assert promised(admin.get(place)) == policy
    assert policy["config"] == {"description": "numbers", "pattern": SSN, "target": "response"}
    changed = promised(admin.put(place, json={"enabled": False, "action": "redact"}))
    assert (changed["enabled"], changed["type"], changed["rules"]) == (False, "redact", policy["rules"])
    promised(admin.post(POLICIES, json=FLAT | {"name": "more"}), 201)
    assert [found["name"] for found in promised(admin.get(POLICIES))["policies"]] == ["no-pii", "more"]
    assert promised(admin.delete(place)) == {"status": "deleted"}
    for response in (admin.get(place), admin.put(place, json={"enabled": True}), admin.delete(place)):
        refused(response, 404, "not_found")


@pytest.mark.parametrize(
    ("body", "type_", "rules", "config"),
    [
        (
            {"action": "block", "rules": [{"field": "response.content", "pattern": SSN}]},
            "block",
            [{"field": "response.content", "pattern": SSN}],
            {"pattern": SSN, "target": "response"},
        ),
        (
            {
                "action": "log",
                "rules": [
                    {"field": "request.content", "pattern": "a", "description": "why"},
                    {"field": "content", "pattern": "b"},
                ],
            },
            "log",
            [
                {"field": "request.content", "pattern": "a", "description": "why"},
                {"field": "content", "pattern": "b"},
            ],
            {},
        ),
        (
            {"type": "redact", "config": {"pattern": "x", "target": "both", "description": "of x"}},
            "redact",
            [{"field": "content", "pattern": "x"}],
            {"description": "of x", "pattern": "x", "target": "both"},
        ),
        (
            {"type": "warn", "config": {"models": "gpt-4o, claude-*", "max_tokens": 5, "max_cost": 0.25}},
            "warn",
            [],
            {"models": "gpt-4o,claude-*", "models_mode": "allow", "max_tokens": 5, "max_cost": 0.25},
        ),
        (
            {"type": "warn", "pattern": "y", "target": "request"},
            "warn",
            [{"field": "request.content", "pattern": "y"}],
            {"pattern": "y", "target": "request"},
        ),
    ],
    ids=["contract", "several", "config", "terms", "flat"],
)
def test_a_policy_may_be_sent_in_three_forms(
    admin: Any, promised: Promised, body: dict[str, Any], type_: str, rules: list[Any], config: dict[str, Any]
) -> None:
    """The original took all of them, and made of the contract's own a policy that did nothing."""
    made = promised(admin.post(POLICIES, json={"name": "p"} | body), 201)
    assert (made["type"], made["action"], made["rules"], made["config"]) == (type_, type_, rules, config)
    assert promised(admin.get(f"{POLICIES}/{made['id']}"))["config"] == config


@pytest.mark.parametrize("pattern", ["(", "a*", r"(a)\1", "(?=a)", "x{5000}"])
def test_a_policy_whose_pattern_cannot_be_used_is_refused(admin: Any, refused: Refusals, pattern: str) -> None:
    """At once, by its place in the form that was sent; nothing is stored."""
    place = f"{POLICIES}/{admin.post(POLICIES, json=FLAT).json()['id']}"
    rules = [{"field": "content", "pattern": "fine"}, {"field": "content", "pattern": pattern}]
    new = {"name": "other", "type": "log"}
    for response, field in (
        (admin.post(POLICIES, json=new | {"pattern": pattern}), "body.pattern"),
        (admin.post(POLICIES, json=new | {"config": {"pattern": pattern}}), "body.config.pattern"),
        (admin.post(POLICIES, json=new | {"rules": rules}), "body.rules[1].pattern"),
        (admin.put(place, json={"rules": rules}), "body.rules[1].pattern"),
    ):
        body = refused(response, 400, "bad_request")
        assert [issue["field"] for issue in body["error"]["details"]["issues"]] == [field]
    assert [policy["config"]["pattern"] for policy in admin.get(POLICIES).json()["policies"]] == [SSN]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"pattern": "x"},
        {"type": "block"},
        {"type": "block", "action": "block", "pattern": "x"},
        {"type": "block", "pattern": "x", "config": {"pattern": "x"}},
        {"type": "block", "rules": []},
        {"type": "block", "config": {"description": "nothing"}},
        {"type": "block", "config": {"models": " , "}},
        {"type": "block", "config": {"max_tokens": 5}, "target": "both"},
        {"type": "redact", "config": {"pattern": "x", "max_tokens": 5}},
        {"type": "redact", "config": {"models": "gpt-*"}},
        {"type": "forbid", "pattern": "x"},
        {"action": "log", "rules": [{"field": "answer", "pattern": "x"}]},
    ],
)
def test_a_policy_that_means_nothing_is_refused(admin: Any, refused: Refusals, body: dict[str, Any]) -> None:
    """A policy somebody relies on and that does nothing is worse than none."""
    refused(admin.post(POLICIES, json={"name": "p"} | body), 400, "bad_request")
    assert admin.get(POLICIES).json()["total"] == 0


def test_a_change_may_not_leave_a_policy_without_meaning(admin: Any, promised: Promised, refused: Refusals) -> None:
    """Limits cannot be redacted; and what a config does not say is gone."""
    place = f"{POLICIES}/{promised(admin.post(POLICIES, json=FLAT), 201)['id']}"
    both = promised(admin.put(place, json={"config": {"pattern": "x", "max_tokens": 9}}))
    assert both["config"] == {"pattern": "x", "target": "response", "max_tokens": 9}
    refused(admin.put(place, json={"type": "redact"}), 400, "bad_request")
    refused(admin.put(place, json={"pattern": "x", "config": {"pattern": "x"}}), 400, "bad_request")
    kept = promised(admin.put(place, json={"pattern": "y", "target": "both"}))
    assert kept["config"] == {"pattern": "y", "target": "both", "max_tokens": 9}
    assert promised(admin.put(place, json={"config": {"max_cost": 1}}))["config"] == {"max_cost": 1}


def test_a_policys_name_is_given_once(admin: Any, refused: Refusals) -> None:
    """Events name policies; two of a name could not be told apart."""
    admin.post(POLICIES, json=FLAT)
    other = admin.post(POLICIES, json=FLAT | {"name": "other"}).json()["id"]
    refused(admin.post(POLICIES, json=FLAT), 409, "conflict")
    refused(admin.put(f"{POLICIES}/{other}", json={"name": "no-pii"}), 409, "conflict")


def test_policies_are_for_operators(user: Any, anonymous: Any, refused: Refusals) -> None:
    """Who may read a pattern knows how to get past it."""
    refused(user.get(POLICIES), 403, "forbidden")
    refused(anonymous.post(POLICIES, json=FLAT), 401, "unauthorized")
