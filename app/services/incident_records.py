"""Records of a bulk job of incidents: held against the same schemas as single calls, then opened or changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from app.problems import Issue, invalid
from app.services import incidents
from app.services.bulk import Carry
from app.services.desk import Actor
from app.wire.validators import compiled, issues, registry

Json = dict[str, Any]
KIND = "incidents"
CREATED, UPDATED = "created", "updated"
SCHEMAS = {CREATED: "IncidentCreate", UPDATED: "IncidentUpdate"}
NUMBER = re.compile(r"INC[0-9]{7,16}\Z")


def carrier(document: Json) -> Carry:
    """Carries one record out: with an `id` it is a patch of that incident, without one a new incident."""
    schemas = cache(lambda said: compiled({"$ref": f"#/components/schemas/{SCHEMAS[said]}"}, registry(document)))

    def carry(actor: Actor, record: Mapping[str, Any]) -> tuple[str, str]:
        said = UPDATED if "id" in record else CREATED
        fields = {name: value for name, value in record.items() if name != "id"}
        if not schemas(said).is_valid(fields):
            raise invalid(*issues(schemas(said), fields, ("body",)))
        if said == CREATED:
            return said, incidents.open_incident(actor, fields).number
        return said, incidents.change(actor, _number(record["id"]), fields).number

    return carry


def _number(text: Any) -> str:
    if not isinstance(text, str) or not NUMBER.match(text):
        raise invalid(Issue(("body", "id"), "pattern"))
    return text
