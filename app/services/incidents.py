"""Incidents of a tenant: found, opened, changed, remarked on and deleted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from app.problems import not_found
from app.services import desk_groups
from app.services.desk import Actor, next_number, unknown_reference
from app.services.incident_rules import CLOSED, RESOLVED, changes, completed
from models.base import now, session
from models.desk import Incident, IncidentNote

Fields = Mapping[str, Any]
PREFIX = "INC"
PUBLIC = "public"
SORTS: Mapping[str, InstrumentedAttribute[Any]] = {
    "created_at": Incident.created_at,
    "updated_at": Incident.updated_at,
    "priority": Incident.priority,
}
SEARCHED = (Incident.number, Incident.short_description, Incident.description)
# Records of kinds that this tenant cannot have yet, so that every number of one is unknown.
REFERENCES = ("ci_id", "parent_problem_id", "change_id")
WRITABLE = (
    "short_description", "description", "priority", "impact", "urgency", "state", "category", "subcategory",
    "assignment_group", "assigned_to", *REFERENCES, "resolution_code", "resolution_notes", "tags",
)  # fmt: skip
STAMPS = {RESOLVED: "resolved_at", CLOSED: "closed_at"}


def _is(column: InstrumentedAttribute[Any]) -> Callable[[Any], ColumnElement[bool]]:
    return lambda value: column == value


def _among(column: InstrumentedAttribute[Any]) -> Callable[[Sequence[str]], ColumnElement[bool]]:
    return column.in_


FILTERS: Mapping[str, Callable[[Any], ColumnElement[bool]]] = {
    "state": _among(Incident.state),
    "priority": _among(Incident.priority),
    "assignment_group": _is(Incident.assignment_group),
    "assigned_to": lambda email: Incident.assigned_to == email.lower(),
    "opened_by": lambda email: Incident.opened_by == email.lower(),
    "category": _is(Incident.category),
    "ci_id": _is(Incident.ci_id),
    "parent_problem_id": _is(Incident.parent_problem_id),
    "created_after": lambda moment: Incident.created_at > moment,
    "created_before": lambda moment: Incident.created_at < moment,
}


def find(actor: Actor, filters: Fields) -> Select[Incident]:
    """The tenant's incidents that pass every filter given; each word of `q` must be somewhere in number or texts."""
    found = select(Incident).where(Incident.org_id == actor.org_id)
    for name, holds in FILTERS.items():
        if (value := filters.get(name)) is not None:
            found = found.where(holds(value))
    for word in (filters.get("q") or "").split():
        found = found.where(or_(*(column.icontains(word, autoescape=True) for column in SEARCHED)))
    return found


def get(actor: Actor, number: str, *, hold: bool = False) -> Incident:
    """An incident of the tenant, locked when it is to be changed; a 404 Problem when there is none of that number."""
    known = find(actor, {}).where(Incident.number == number)
    incident = session().scalar(known.with_for_update() if hold else known)
    if incident is None:
        raise not_found("Incident")
    return incident


def open_incident(actor: Actor, given: Fields) -> Incident:
    """A new incident with the tenant's next number; a 422 Problem when it names what the tenant does not have."""
    fields = completed(_lowered(given))
    _refuse_strangers(actor, fields, fields)
    moment = now()
    incident = Incident(org_id=actor.org_id, opened_by=actor.email, created_at=moment, updated_at=moment, **fields)
    incident.number = next_number(actor.org_id, PREFIX)
    session().add(incident)
    session().flush()
    return incident


def change(actor: Actor, number: str, patch: Fields) -> Incident:
    """Merge a patch into an incident; Problem 404, 409 or 422. One that changes nothing leaves no trace."""
    incident = get(actor, number, hold=True)
    before = {name: getattr(incident, name) for name in WRITABLE}
    changed = changes(before, _lowered(patch))
    if not changed:
        return incident
    _refuse_strangers(actor, changed, {**before, **changed})
    for name, value in changed.items():
        setattr(incident, name, value)
    if "state" in changed:
        _stamp(incident, before["state"])
    incident.updated_at = now()
    session().flush()
    return incident


def _stamp(incident: Incident, left: str) -> None:
    """Note when an incident was resolved or closed; one that is open again was never resolved."""
    if left == RESOLVED and incident.state != CLOSED:
        incident.resolved_at = None
    if incident.state in STAMPS:
        setattr(incident, STAMPS[incident.state], now())


def remove(actor: Actor, number: str) -> None:
    """Delete an incident and its notes; its number is never given again."""
    incident = get(actor, number, hold=True)
    session().execute(delete(IncidentNote).where(IncidentNote.incident_id == incident.id))
    session().delete(incident)


def notes(actor: Actor, number: str, *, only_public: bool) -> Select[IncidentNote]:
    """The notes on an incident."""
    found = select(IncidentNote).where(IncidentNote.incident_id == get(actor, number).id)
    return found.where(IncidentNote.visibility == PUBLIC) if only_public else found


def add_note(actor: Actor, number: str, text: str, visibility: str) -> IncidentNote:
    """A further note, whatever state the incident is in."""
    incident = get(actor, number, hold=True)
    note = IncidentNote(incident_id=incident.id, note=text, visibility=visibility, author=actor.email)
    session().add(note)
    session().flush()
    return note


def _lowered(given: Fields) -> Fields:
    """Addresses are kept in lower case."""
    address = given.get("assigned_to")
    return {**given, "assigned_to": address.lower()} if address else given


def _refuse_strangers(actor: Actor, changed: Fields, after: Fields) -> None:
    """A 422 Problem when a field that changes names a record, group or person the tenant does not have."""
    for name in REFERENCES:
        if changed.get(name) is not None:
            raise unknown_reference(name, "there is no such record in this tenant")
    if "assignment_group" in changed:
        desk_groups.refuse_unknown(actor, after["assignment_group"])
    if {"assignment_group", "assigned_to"} & changed.keys() and after.get("assigned_to"):
        desk_groups.refuse_outsider(actor, after["assigned_to"], after["assignment_group"])
