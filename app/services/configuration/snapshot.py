"""What is configured now, section by section, without any secret, and the tag of that state."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, Final

import orjson
from sqlalchemy import select

from app.gateway.modules.catalogue import canonical, complete_config, validate_config
from app.problems import Problem
from app.runtime import runtime
from app.services import modules, providers
from app.settings import Settings
from models.base import now, session
from models.gateway import Route
from models.guardrails import Guardrail
from models.views.fields import rfc3339
from models.webhooks import Webhook

Json = dict[str, Any]
VERSION: Final = "1.0"
HIDDEN: Final = "***"
GUARDRAIL: Final = ("type", "pattern", "action", "project", "enabled", "priority", "description")


def _modules() -> dict[str, Json]:
    return {
        known.entry.name: {"enabled": known.enabled, "priority": known.priority, "config": known.config}
        for known in modules.find()
    }


def _routes() -> dict[str, Json]:
    rows = session().scalars(select(Route).order_by(Route.priority, Route.id))
    return {r.path: {n: getattr(r, n) for n in ("provider", "model", "priority", "enabled")} for r in rows}


def _guardrails() -> dict[str, Json]:
    rows = session().scalars(select(Guardrail).order_by(Guardrail.id))
    return {rule.name: {name: getattr(rule, name) for name in GUARDRAIL} for rule in rows}


def _webhooks() -> dict[str, Json]:
    return {hook.url: {"events": hook.events} for hook in session().scalars(select(Webhook).order_by(Webhook.id))}


# Each section: what reads it, and what names an entry of it. Aliases and alerts are settings of their modules.
SECTIONS: Final[Mapping[str, tuple[Callable[[], dict[str, Json]], str]]] = {
    "modules": (_modules, "name"),
    "routes": (_routes, "path"),
    "guardrails": (_guardrails, "name"),
    "webhooks": (_webhooks, "url"),
}
State = dict[str, dict[str, Json]]


def take() -> State:
    """Every section's entries under their names."""
    return {section: read() for section, (read, _) in SECTIONS.items()}


def etag() -> str:
    """The tag of what is configured now (RFC 9110 §8.8.3); a secret that was set anew changes it too."""
    versions = [(known.entry.name, known.version) for known in modules.find()]
    told = orjson.dumps([versions, _routes(), _guardrails(), _webhooks()], option=orjson.OPT_SORT_KEYS)
    return f'"{hashlib.blake2b(told, digest_size=12).hexdigest()}"'


def require_match(if_match: str | None) -> None:
    """A 412 Problem when the configuration is another than the one that was read; weak tags never match."""
    if if_match is None or if_match.strip() == "*":
        return
    current = etag()
    if current not in {tag.strip() for tag in if_match.split(",")}:
        message = "The configuration was changed meanwhile; read it again and repeat the change"
        raise Problem(412, message, details={"current": current}, headers={"etag": current})


def exported() -> Json:
    """The snapshot as a document of its own."""
    state = take()
    told: Json = {"version": VERSION, "exported_at": rfc3339(now())}
    for section, (_, name) in SECTIONS.items():
        told[section] = [{name: key} | entry for key, entry in state[section].items()]
    told["providers"] = [_provider(seen) for seen in providers.find(configured=True)]
    return told


def _provider(seen: providers.Seen) -> Json:
    return {"name": seen.name} | ({"base_url": seen.base_url} if seen.base_url else {})


def read(document: Mapping[str, Any]) -> State:
    """The entries of a snapshot that somebody sent, as `take` has them; sections it does not have are left out."""
    named = {section: name for section, (_, name) in SECTIONS.items() if section in document}
    return {section: _entries(section, document[section], name) for section, name in named.items()}


def _entries(section: str, entries: Iterable[Json], name: str) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for entry in entries:
        key = (canonical(entry[name]) or entry[name]) if section == "modules" else entry[name]
        found[key] = {field: value for field, value in entry.items() if field != name}
    return found


def complete(state: State) -> State:
    """With the defaults that the settings of known modules leave out, so that states can be compared."""
    filled = {
        name: entry | {"config": complete_config(name, entry["config"])} if _is_known(name, entry) else entry
        for name, entry in state.get("modules", {}).items()
    }
    return state | ({"modules": filled} if "modules" in state else {})


def _is_known(name: str, entry: Json) -> bool:
    return canonical(name) == name and "config" in entry and not validate_config(name, entry["config"])


def effective() -> Json:
    """Everything in force: the sections, the providers, and the settings the server was started with."""
    state = take()
    told: Json = {"version": VERSION, **{name: state[name] for name in ("modules", "routes", "guardrails")}}
    told["providers"] = {seen.name: _account(seen) for seen in providers.find(configured=True)}
    return told | {"settings": _settings(runtime().settings)}


def _account(seen: providers.Seen) -> Json:
    key = {"api_key": HIDDEN} if seen.account and seen.account.key else {}
    return {"base_url": seen.base_url} | key


def _settings(settings: Settings) -> Json:
    """Every setting; those that are not for printing are hidden."""
    shown: Json = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        shown[field.name] = value if isinstance(value, int) else str(value)
        if not field.repr:
            shown[field.name] = HIDDEN if value else ""
    return shown
