"""Incidents and the notes on them."""

from __future__ import annotations

from typing import Any

from app.http import Answer, caller, created, page
from app.security.desk_roles import VIEWER
from app.services import incidents
from app.services.desk import acting
from app.wire.moments import moment
from app.wire.pages import Listing
from models.desk import Incident, IncidentNote
from models.views.desk import IncidentView, NoteView

Json = dict[str, Any]
MOMENTS = ("created_after", "created_before")

show_incident = IncidentView().dump
show_note = NoteView().dump


def list_incidents(limit: int, cursor: str | None, sort: str, order: str, **filters: Any) -> Json:
    """The tenant's incidents."""
    filters |= {name: moment(filters[name]) for name in MOMENTS if filters[name]}
    key = (incidents.SORTS[sort], Incident.id)
    listing = Listing(incidents.find(acting(), filters), "data", show_incident, key, descending=order == "desc")
    return page(listing, limit=limit, cursor=cursor)


def create_incident(body: Json) -> Answer:
    """Open an incident."""
    incident = incidents.open_incident(acting(), body)
    return created(show_incident(incident), f"/prod/api/v1/incidents/{incident.number}")


def get_incident(id_: str) -> Json:
    """One incident."""
    shown: Json = show_incident(incidents.get(acting(), id_))
    return shown


def update_incident(id_: str, body: Json) -> Json:
    """Change an incident."""
    shown: Json = show_incident(incidents.change(acting(), id_, body))
    return shown


def delete_incident(id_: str) -> None:
    """Delete an incident."""
    incidents.remove(acting(), id_)


def list_incident_notes(id_: str, **window: Any) -> Json:
    """Notes on an incident, newest first; a viewer is shown the public ones."""
    found = incidents.notes(acting(), id_, only_public=VIEWER in caller().roles)
    return page(Listing(found, "data", show_note, (IncidentNote.id,)), **window)


def create_incident_note(id_: str, body: Json) -> Answer:
    """Remark on an incident."""
    note = incidents.add_note(acting(), id_, body["note"], body.get("visibility", "internal"))
    return created(show_note(note), f"/prod/api/v1/incidents/{id_}/notes")
