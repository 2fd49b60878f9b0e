"""Switching several modules: all of them or none, and nothing about it is left unsaid."""

from __future__ import annotations

from typing import Any

import pytest

from support.envelopes import Refusals
from support.people import Promised

MODULES = "/api/proxy/modules"
BULK = "/api/proxy/modules/bulk"


def states(admin: Any) -> dict[str, bool]:
    """Whether each module is on."""
    return {m["name"]: m["enabled"] for m in admin.get(MODULES).json()["modules"]}


def test_a_list_is_switched_and_unknown_names_are_told(admin: Any, promised: Promised) -> None:
    """A script written for another version must learn which of its modules this one does not have."""
    body = promised(admin.post(BULK, json={"modules": ["cache", "failover", "nonsense"], "enabled": True}))
    assert body == {"status": "updated", "affected": 2, "enabled": True, "unknown": ["nonsense"], "skipped": []}
    assert states(admin)["cachelayer"]


def test_without_a_state_modules_are_switched_off(admin: Any, promised: Promised) -> None:
    """The default of the field, as in the original."""
    promised(admin.post(BULK, json={"modules": ["failover", "logging"]}))
    assert {states(admin)["failover"], states(admin)["logging"]} == {False}


def test_a_map_gives_each_its_own_state(admin: Any, promised: Promised) -> None:
    """One request restores a saved arrangement."""
    body = promised(admin.post(BULK, json={"modules": {"cachelayer": True, "failover": False}}))
    assert (body["affected"], "enabled" in body) == (2, False)
    assert (states(admin)["cachelayer"], states(admin)["failover"]) == (True, False)


@pytest.mark.parametrize(
    ("modules", "stuck"),
    [
        ({"cachelayer": True, "semanticcache": True}, ["semanticcache"]),
        ({"failover": False, "spend": False}, ["spend"]),
    ],
)
def test_one_that_cannot_be_switched_stops_all(
    admin: Any, refused: Refusals, modules: dict[str, bool], stuck: list[str]
) -> None:
    """Half an arrangement is worse than the old one; the refusal names what was in the way."""
    before = states(admin)
    body = refused(admin.post(BULK, json={"modules": modules}), 409, "conflict")
    assert body["error"]["details"]["modules"] == stuck
    assert states(admin) == before


def test_a_category_passes_over_what_it_cannot_switch(admin: Any, promised: Promised) -> None:
    """Nobody named those modules, so they refuse nothing, but they are told."""
    body = promised(admin.post(BULK, json={"category": "caching", "enabled": True}))
    assert (body["affected"], "semanticcache" in body["skipped"]) == (4, True)
    assert (states(admin)["cachelayer"], states(admin)["embedcache"]) == (True, True)
    assert promised(admin.post(BULK, json={"category": "keys"}))["skipped"] == ["authgate"]


@pytest.mark.parametrize(
    "sent",
    [{}, {"enabled": True}, {"modules": []}, {"modules": ["failover"], "category": "caching"}, {"category": "x"}],
)
def test_a_request_that_names_nothing_or_twice_is_refused(admin: Any, refused: Refusals, sent: Any) -> None:
    """Guessing which modules were meant could switch off the wrong ones."""
    refused(admin.post(BULK, json=sent), 400, "bad_request")


def test_bulk_is_no_modules_name(admin: Any, refused: Refusals) -> None:
    """The literal path wins over the parameter."""
    refused(admin.get(BULK), 405, "method_not_allowed")
