"""What holds of every incident: the priority matrix, the states and their moves, and who gets what. No effects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from app.problems import Problem, conflict

Fields = Mapping[str, Any]
HIGH, MEDIUM, LOW = "high", "medium", "low"
# Impact, then urgency.
MATRIX: Mapping[tuple[str, str], str] = {
    (HIGH, HIGH): "P1",
    (HIGH, MEDIUM): "P2",
    (HIGH, LOW): "P3",
    (MEDIUM, HIGH): "P2",
    (MEDIUM, MEDIUM): "P3",
    (MEDIUM, LOW): "P4",
    (LOW, HIGH): "P3",
    (LOW, MEDIUM): "P4",
    (LOW, LOW): "P4",
}
NEW, IN_PROGRESS, CUSTOMER, VENDOR = "new", "in_progress", "pending_customer", "pending_vendor"
RESOLVED, CLOSED, CANCELLED = "resolved", "closed", "cancelled"
MOVES: Mapping[str, frozenset[str]] = {
    NEW: frozenset({IN_PROGRESS, CUSTOMER, VENDOR, RESOLVED, CANCELLED}),
    IN_PROGRESS: frozenset({CUSTOMER, VENDOR, RESOLVED, CANCELLED}),
    CUSTOMER: frozenset({IN_PROGRESS, VENDOR, RESOLVED, CANCELLED}),
    VENDOR: frozenset({IN_PROGRESS, CUSTOMER, RESOLVED, CANCELLED}),
    RESOLVED: frozenset({IN_PROGRESS, CLOSED}),
    CLOSED: frozenset(),
    CANCELLED: frozenset(),
}
DEFAULTS: Fields = {"description": "", "impact": MEDIUM, "urgency": MEDIUM, "category": None, "state": NEW}
RESOLUTION = ("resolution_code", "resolution_notes")
SERVICE_DESK = "IT Service Desk"
# The first that fits; every tenant has these groups.
ROUTES: tuple[tuple[Callable[[Fields], bool], str], ...] = (
    (lambda i: i["category"] == "database" and i["priority"] in {"P1", "P2"}, "Platform Engineering"),
    (lambda i: i["category"] == "security", "Security Operations"),
    (lambda i: i["category"] == "email", "Collaboration Services"),
    (lambda _: True, SERVICE_DESK),
)


def completed(given: Fields) -> dict[str, Any]:
    """The fields of a new incident, from those the caller gave: priority and group are worked out when missing."""
    fields: dict[str, Any] = {**DEFAULTS, "tags": [], **given}
    fields.setdefault("priority", MATRIX[fields["impact"], fields["urgency"]])
    fields.setdefault("assignment_group", route(fields))
    return fields


def route(incident: Fields) -> str:
    """The name of the group an incident goes to when nobody says which."""
    return next(group for fits, group in ROUTES if fits(incident))


def changes(before: Fields, patch: Fields) -> dict[str, Any]:
    """What a patch changes of an incident, consequences included; nothing when it says what already holds.

    Problem 409 for a move the states do not have or an incident that is over, 422 for one resolved without saying how.
    """
    wanted = {name: value for name, value in patch.items() if before[name] != value}
    if wanted and not MOVES[before["state"]]:
        raise conflict_of_state(f"This incident is {before['state']}; only notes may be added")
    wanted |= _moved(before, wanted)
    if {"impact", "urgency"} & wanted.keys() and "priority" not in patch:
        after = {**before, **wanted}
        wanted["priority"] = MATRIX[after["impact"], after["urgency"]]
    _refuse_unexplained({**before, **wanted})
    return {name: value for name, value in wanted.items() if before[name] != value}


def _moved(before: Fields, wanted: Fields) -> dict[str, Any]:
    """What follows from a change of state: reopening takes the resolution back."""
    old, new = before["state"], wanted.get("state", before["state"])
    if new == old:
        return {}
    if new not in MOVES[old]:
        raise conflict_of_state(f"An incident cannot go from {old} to {new}")
    if (old, new) != (RESOLVED, IN_PROGRESS):
        return {}
    if any(wanted.get(name) for name in RESOLUTION):
        raise Problem(422, "Reopening takes the resolution back; it cannot be set at the same time")
    return dict.fromkeys(RESOLUTION)


def _refuse_unexplained(after: Fields) -> None:
    if after["state"] == RESOLVED and not all((after[name] or "").strip() for name in RESOLUTION):
        message = "A resolved incident needs a resolution_code and resolution_notes"
        raise Problem(422, message, code="missing_resolution")


def conflict_of_state(message: str) -> Problem:
    """409 for a move that the states do not have."""
    problem = conflict(message)
    problem.code = "invalid_state_transition"
    return problem
