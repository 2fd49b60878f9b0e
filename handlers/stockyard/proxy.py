"""The model gateway as an operator keeps it: modules, calls that wait for approval, relays, providers and routes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from app.gateway.chain import stats
from app.gateway.modules.catalogue import CATALOGUE
from app.http import Answer, page
from app.runtime import runtime
from app.services import approvals, modules, providers
from app.services.modules import Change, Toggled
from app.services.relays import intake as relays
from app.wire.call import Call
from app.wire.pages import Listing
from app.wire.replies import Reply, json_reply
from models.approvals import APPROVED, REJECTED, HeldCall
from models.views.approvals import HeldCallView
from models.views.fields import rfc3339
from models.views.proxy import LinkView, ModuleView, ProviderView, RouteView

Json = dict[str, Any]
NAMED = frozenset({"enabled", "priority", "config"})

show_held = HeldCallView().dump
show_module = ModuleView().dump
show_link = LinkView().dump
show_provider = ProviderView().dump
show_route = RouteView().dump


def list_modules(category: str | None, enabled: bool | None, implemented: bool | None, limit: int, offset: int) -> Json:
    """Modules, by priority."""
    found = modules.find(category, enabled=enabled, implemented=implemented)
    return _window("modules", found, show_module, limit, offset) | {"enabled": sum(m.enabled for m in found)}


def get_module(name: str) -> Answer:
    """One module, with what it counted and the settings it takes."""
    known = modules.get(name)
    counted = stats(runtime().gateway, known.entry.name)
    body = show_module(known) | {"stats": counted, "config_schema": known.entry.config_schema}
    return Answer(body, headers={"etag": known.etag})


def update_module(name: str, if_match: str | None, body: Json) -> Answer:
    """Switch or configure a module."""
    flat = {key: value for key, value in body.items() if key not in NAMED}
    wanted = Change(body.get("enabled"), body.get("priority"), body.get("config", {}), flat)
    known = modules.change(name, wanted, if_match)
    told = {"status": "updated", "module": known.entry.name}
    return Answer(told | show_module(known), headers={"etag": known.etag})


def toggle_modules(body: Json) -> Json:
    """Switch several modules."""
    enabled: bool = body.get("enabled", False)
    if category := body.get("category"):
        return _toggled(modules.toggle_category(category, enabled=enabled)) | {"enabled": enabled}
    if isinstance(body["modules"], dict):
        return _toggled(modules.toggle(body["modules"]))
    return _toggled(modules.toggle(dict.fromkeys(body["modules"], enabled))) | {"enabled": enabled}


def list_approvals(status: str | None, limit: int, offset: int, cursor: str | None) -> Json:
    """Calls that were held, newest first."""
    listing = Listing(approvals.find(status), "approvals", show_held, (HeldCall.id,))
    return page(listing, limit=limit, offset=offset, cursor=cursor)


def get_approval(id_: int) -> Json:
    """One call that was held."""
    shown: Json = show_held(approvals.get(id_))
    return shown


def approve_call(id_: int, body: Json | None) -> Json:
    """Let a call go on."""
    shown: Json = show_held(approvals.decide(id_, APPROVED, (body or {}).get("note", "")))
    return shown


def reject_call(id_: int, body: Json | None) -> Json:
    """Refuse a call."""
    shown: Json = show_held(approvals.decide(id_, REJECTED, (body or {}).get("note", "")))
    return shown


def relay_webhook(name: str, body: Json, **_: Any) -> Json:
    """Take what a third party sends to a relay."""
    return relays.receive(name, body)


def list_providers(configured: bool | None, limit: int, offset: int) -> Json:
    """Providers, by name."""
    return _window("providers", providers.find(configured=configured), show_provider, limit, offset)


async def check_provider(_call: Call, name: str) -> Reply:
    """Ask a provider whether it answers; it may take its time, so no transaction waits for it."""
    asked, moment, verdict = await asyncio.to_thread(providers.check, name, runtime().engine)
    body: Json = {"provider": asked, "status": verdict.status, "checked_at": rfc3339(moment)}
    body["latency_ms"] = verdict.latency_ms
    return json_reply(body | ({"error": verdict.error} if verdict.error else {}))


def list_routes(limit: int, offset: int) -> Json:
    """Rules, in the order they are tried."""
    return _window("routes", providers.routes(), show_route, limit, offset)


def get_chain() -> Json:
    """The modules of the chain, in the order they act."""
    links = [show_link(known) | {"order": place} for place, known in enumerate(modules.chain(), start=1)]
    return {"chain": links, "chain_length": len(links), "total_modules": len(CATALOGUE)}


def get_proxy_status() -> Json:
    """Counts of what the gateway is made of."""
    known = modules.find()
    return {
        "app": "proxy",
        "status": "running",
        "total_modules": len(known),
        "enabled_modules": sum(module.enabled for module in known),
        "live_chain": sum(module.enabled for module in known if module.in_chain),
        "providers": len(runtime().gateway.config.accounts),
        "routes": providers.count_routes(),
    }


def _toggled(done: Toggled) -> Json:
    told = {"status": "updated", "affected": len(done.affected)}
    return told | {"unknown": done.unknown, "skipped": done.skipped}


def _window(name: str, found: Sequence[Any], show: Callable[[Any], Json], limit: int, offset: int) -> Json:
    """A page of what is in memory anyway, in the envelope of every list of this dialect."""
    rows = [show(item) for item in found[offset : offset + limit]]
    told: Json = {name: rows, "count": len(rows), "total": len(found)}
    return told | {"has_more": offset + len(rows) < len(found), "limit": limit, "offset": offset}
