"""Guardrails: rules on what goes to models and what comes back, and what they found."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from app.http import Answer, created, page
from app.services import guardrails
from app.wire.pages import Listing
from models.guardrails import GuardrailEvent
from models.views.guardrails import GuardrailEventView, GuardrailView

Json = dict[str, Any]

show_rule = GuardrailView().dump
show_event = GuardrailEventView().dump


def list_guardrails(project: str | None, limit: int, offset: int) -> Json:
    """Rules, in the order they apply."""
    return page(Listing(guardrails.find(project), "rules", show_rule), limit=limit, offset=offset)


def create_guardrail(body: Json) -> Answer:
    """Make a rule."""
    rule = guardrails.create(body)
    return created({"status": "created"} | show_rule(rule), f"/api/guardrails/{rule.id}")


def get_guardrail(id_: int) -> Json:
    """One rule."""
    shown: Json = show_rule(guardrails.get(id_))
    return shown


def update_guardrail(id_: int, body: Json) -> Json:
    """Change a rule."""
    shown: Json = show_rule(guardrails.change(id_, body))
    return {"status": "updated"} | shown


def delete_guardrail(id_: int) -> Json:
    """Remove a rule."""
    guardrails.remove(id_)
    return {"status": "deleted"}


def try_guardrails(body: Json) -> Json:
    """Try the rules on a text."""
    tried = asdict(guardrails.trial(body["text"], body.get("project", "default")))
    shown: Json = {"matches": tried["matches"], "count": len(tried["matches"]), "would": tried["would"]}
    return shown | ({} if tried["would"] == "block" else {"redacted_text": tried["redacted"]})


def get_guardrail_stats() -> Json:
    """How often rules matched."""
    return guardrails.stats()


def list_guardrail_events(project: str | None, rule: str | None, limit: int, offset: int, cursor: str | None) -> Json:
    """What rules found, newest first."""
    listing = Listing(guardrails.events(project, rule), "events", show_event, (GuardrailEvent.id,))
    return page(listing, limit=limit, offset=offset, cursor=cursor)
