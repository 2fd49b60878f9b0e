"""Changing the configuration: a merge patch of some of it, or a snapshot put over it; all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import delete, select

from app.gateway.modules.catalogue import CATALOGUE, canonical
from app.gateway.providers import provider_named
from app.outbound.web_addresses import canonical as canonical_url
from app.problems import Problem, not_found
from app.services import guardrails, modules, revisions
from app.services.configuration import differences, snapshot
from app.services.configuration.snapshot import State
from app.services.modules import Change
from app.services.webhooks import announce, hooks
from app.services.webhooks.hooks import Wanted
from models.base import REVISED, session
from models.gateway import Route
from models.webhooks import Webhook

Json = dict[str, Any]
MOST_TOLD: Final = 100


@dataclass(slots=True)
class Outcome:
    """What a change came to: the pointers of what is other than before, what was passed over, and new webhooks."""

    tag: str = ""
    changed: list[str] = field(default_factory=list)
    modules: int = 0
    unknown: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    webhooks: list[Json] = field(default_factory=list, repr=False)


def patch(body: Json, if_match: str | None) -> Outcome:
    """Apply a merge patch of modules and routes; Problem 404, 409, 412, 422, or 400 with each setting that is wrong."""
    modules.take_turn()
    snapshot.require_match(if_match)
    before = snapshot.take()
    for name, wanted in body.get("modules", {}).items():
        at = ("body", "modules", name, "config")
        modules.change(name, Change(wanted.get("enabled"), wanted.get("priority"), wanted.get("config", {}), at=at))
    for path, wanted in body.get("routes", {}).items():
        _remove_route(path) if wanted is None else _put_route(path, wanted)
    return _told(before, Outcome())


def prepare(body: Json, known: set[str]) -> list[Wanted]:
    """The webhooks of a snapshot that are new, checked; a 422 Problem otherwise. No transaction may wait for this."""
    entries = {canonical_url(entry["url"]) or entry["url"]: entry for entry in body.get("webhooks", [])}
    new = [(url, entry) for url, entry in entries.items() if url not in known]
    return [hooks.checked(url, entry.get("events", "*")) for url, entry in new]


def known_urls() -> set[str]:
    """Where events are sent already."""
    return set(session().scalars(select(Webhook.url)))


def put_over(body: Json, new: Sequence[Wanted], if_match: str | None, *, dry_run: bool) -> Outcome:
    """Put a snapshot over what is configured; nothing is deleted, and a secret it does not have stays.

    `new` are its webhooks that there are not yet. With `dry_run` everything is tried and nothing kept.
    """
    modules.take_turn()
    snapshot.require_match(if_match)
    before, revised = snapshot.take(), session().info.get(REVISED)
    with session().begin_nested() as point:
        outcome = Outcome()
        state = snapshot.read(body)
        for section, apply in APPLIED.items():
            apply(state.get(section, {}), outcome)
        _add_webhooks(new, outcome, dry_run=dry_run)
        _told(before, outcome)
        if dry_run:
            point.rollback()
    if dry_run:
        session().info[REVISED] = revised
    return outcome


def _put_modules(entries: Mapping[str, Json], outcome: Outcome) -> None:
    """Known modules only; one that cannot have the state keeps its own."""
    for place, (name, entry) in enumerate(entries.items()):
        if canonical(name) is None:
            outcome.unknown.append(name)
            continue
        enabled = entry.get("enabled")
        if enabled is not None and modules.why_stuck(CATALOGUE[name], enabled=enabled):
            outcome.skipped.append(name)
            enabled = None
        at = ("body", "modules", place, "config")
        modules.change(name, Change(enabled, entry.get("priority"), whole=entry.get("config"), at=at))


def _put_routes(entries: Mapping[str, Json], _outcome: Outcome) -> None:
    for path, entry in entries.items():
        _put_route(path, entry)


def _put_guardrails(entries: Mapping[str, Json], _outcome: Outcome) -> None:
    for place, (name, entry) in enumerate(entries.items()):
        guardrails.put(name, entry, ("body", "guardrails", place))


# What puts each section of a snapshot in place; webhooks were looked at before, and follow.
APPLIED: Final[Mapping[str, Callable[[Mapping[str, Json], Outcome], None]]] = {
    "modules": _put_modules,
    "routes": _put_routes,
    "guardrails": _put_guardrails,
}


def _put_route(path: str, entry: Json) -> None:
    row = session().scalar(select(Route).where(Route.path == path))
    provider = entry.get("provider", row.provider if row else "")
    if provider_named(provider) is None:
        raise Problem(422, f"The route {path} leads nowhere: no provider is called {provider or 'so'}")
    row = row or Route(path=path)
    values = {"provider": provider.lower()} | {n: entry[n] for n in ("model", "priority", "enabled") if n in entry}
    if any(getattr(row, name) != value for name, value in values.items()):
        for name, value in values.items():
            setattr(row, name, value)
        session().add(row)
        session().flush()
        revisions.bump()


def _remove_route(path: str) -> None:
    if session().scalar(delete(Route).where(Route.path == path).returning(Route.id)) is None:
        raise not_found(f"The route {path}")
    revisions.bump()


def _add_webhooks(new: Sequence[Wanted], outcome: Outcome, *, dry_run: bool) -> None:
    for wanted in new:
        hook = hooks.add(wanted)
        shown = {} if dry_run else {"id": hook.id, "secret": wanted.secret}
        outcome.webhooks.append({"url": hook.url} | shown)


def _told(before: State, outcome: Outcome) -> Outcome:
    """Compare, and tell of what changed."""
    session().flush()
    found = differences.between(before, snapshot.take(), whole=True)
    outcome.changed = [entry["path"] for entry in found]
    outcome.modules = len({path.split("/")[2] for path in outcome.changed if path.startswith("/modules/")})
    outcome.tag = snapshot.etag()
    if found:
        announce("config.updated", {"changes": len(found), "paths": outcome.changed[:MOST_TOLD]})
    return outcome
