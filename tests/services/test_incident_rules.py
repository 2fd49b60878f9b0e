"""The rules of incidents, pure: priorities, moves and routes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.problems import Problem
from app.services.incident_rules import MATRIX, MOVES, RESOLUTION, changes, completed, route

LEVELS = ("high", "medium", "low")
STATES = tuple(MOVES)
EXPLAINED = {"resolution_code": "fixed", "resolution_notes": "Restarted."}


def incident(**fields: Any) -> dict[str, Any]:
    """An incident's fields."""
    return completed({"short_description": "x", "resolution_code": None, "resolution_notes": None}) | fields


def test_the_matrix_knows_every_pair_and_never_falls() -> None:
    """More impact or more urgency never makes it less urgent."""
    for one in range(3):
        for other in range(2):
            assert MATRIX[LEVELS[one], LEVELS[other]] <= MATRIX[LEVELS[one], LEVELS[other + 1]]
            assert MATRIX[LEVELS[other], LEVELS[one]] <= MATRIX[LEVELS[other + 1], LEVELS[one]]
    assert MATRIX["high", "high"] == "P1"
    assert MATRIX["medium", "medium"] == "P3"
    assert MATRIX["low", "low"] == "P4"


@pytest.mark.parametrize(
    ("category", "priority", "group"),
    [
        ("database", "P1", "Platform Engineering"),
        ("database", "P2", "Platform Engineering"),
        ("database", "P3", "IT Service Desk"),
        ("security", "P4", "Security Operations"),
        ("email", "P3", "Collaboration Services"),
        (None, "P1", "IT Service Desk"),
    ],
)
def test_an_incident_goes_to_those_who_can_help(category: str | None, priority: str, group: str) -> None:
    """The first rule that fits decides."""
    assert route({"category": category, "priority": priority}) == group


@given(st.sampled_from(STATES), st.sampled_from(STATES))
def test_only_the_moves_of_the_table_are_made(old: str, new: str) -> None:
    """A state machine with a hidden door is none."""
    assume(old != new)
    before = incident(state=old, **EXPLAINED)
    if new in MOVES[old]:
        assert changes(before, {"state": new})["state"] == new
        return
    with pytest.raises(Problem) as refusal:
        changes(before, {"state": new})
    assert (refusal.value.status, refusal.value.code) == (409, "invalid_state_transition")


@pytest.mark.parametrize("state", STATES)
def test_the_same_state_is_no_move(state: str) -> None:
    """Clients send whole records back; saying what holds already is never a conflict."""
    assert changes(incident(state=state, **EXPLAINED), {"state": state, "impact": "medium"}) == {}


@pytest.mark.parametrize("state", ["closed", "cancelled"])
def test_what_is_over_stays_as_it_is(state: str) -> None:
    """An audit reads closed records as they were closed."""
    with pytest.raises(Problem) as refusal:
        changes(incident(state=state, **EXPLAINED), {"impact": "high"})
    assert refusal.value.status == 409


@pytest.mark.parametrize("missing", RESOLUTION)
def test_nothing_is_resolved_without_saying_how(missing: str) -> None:
    """Both the code and the notes, be it now or before; and neither can be taken away later."""
    with pytest.raises(Problem) as refusal:
        changes(incident(), {"state": "resolved"} | EXPLAINED | {missing: None})
    assert (refusal.value.status, refusal.value.code) == (422, "missing_resolution")
    with pytest.raises(Problem):
        changes(incident(state="resolved", **EXPLAINED), {missing: None})


def test_reopening_takes_the_resolution_back() -> None:
    """What was said to have fixed it did not."""
    before = incident(state="resolved", **EXPLAINED)
    assert changes(before, {"state": "in_progress"}) == {"state": "in_progress"} | dict.fromkeys(RESOLUTION)
    with pytest.raises(Problem) as refusal:
        changes(before, {"state": "in_progress", "resolution_notes": "Really."})
    assert refusal.value.status == 422


def test_impact_and_urgency_move_the_priority_unless_one_is_said() -> None:
    """An explicit priority wins."""
    assert changes(incident(), {"impact": "high", "urgency": "high"})["priority"] == "P1"
    assert "priority" not in changes(incident(), {"impact": "high", "priority": "P3"})
    assert completed({"short_description": "x", "priority": "P2"})["priority"] == "P2"
