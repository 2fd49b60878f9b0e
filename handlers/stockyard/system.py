"""The server itself: health, status, its applications, and its own document. None of it waits for the database."""

from __future__ import annotations

import asyncio
from typing import Any

from app.observe import exposition
from app.problems import Problem, forbidden, unauthorized
from app.runtime import runtime
from app.services import documentation, status, system
from app.services.documentation import Text
from app.settings import is_loopback
from app.wire.call import Call
from app.wire.replies import RawHeaders, Reply, json_reply

Json = dict[str, Any]
NO_CACHE = (b"cache-control", b"no-cache")
SAFE: RawHeaders = [
    (b"content-security-policy", documentation.POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
]
PROXIED = frozenset({"forwarded", "via", "x-forwarded-for", "x-real-ip", "x-forwarded-host"})
APPS = (
    ("proxy", "The model gateway: its modules, providers and routes."),
    ("observe", "Traces, costs and live traffic of the gateway."),
)


async def get_health(_call: Call) -> Reply:
    """Tell whether the server answers."""
    return json_reply({"status": "ok", "uptime": system.uptime(runtime().started), "version": system.release()})


async def get_api_health(_call: Call) -> Reply:
    """Tell a load balancer whether the server answers."""
    return json_reply({"status": "ok", "product": "yardmaster", "uptime": system.uptime(runtime().started)})


async def get_status(_call: Call) -> Reply:
    """Tell how the server is."""
    return json_reply(await asyncio.to_thread(status.report, runtime()), headers=[NO_CACHE])


async def get_metrics(call: Call) -> Reply:
    """What all workers counted."""
    _refuse_strangers(call)
    families = await runtime().metrics.families()
    open_metrics = exposition.wants_open(call.headers.get("accept", ""))
    media_type = exposition.OPEN if open_metrics else exposition.PLAIN
    body = await asyncio.to_thread(exposition.render, families, open_metrics=open_metrics)
    return Reply(200, [(b"content-type", media_type.encode()), NO_CACHE, (b"vary", b"Accept")], body)


def _refuse_strangers(call: Call) -> None:
    """Whoever the setting does not let in; a proxy on this machine passes on requests from anywhere."""
    wanted = runtime().settings.metrics
    if wanted == "off":
        raise Problem(404, "The metrics are switched off")
    local = wanted == "local" and is_loopback(call.client) and not PROXIED & call.headers.keys()
    if call.principal.is_admin or wanted == "public" or local:
        return
    if call.principal.kind == "anonymous":
        raise unauthorized("The metrics are for operators. Send a key as Authorization: Bearer sy_admin_...")
    raise forbidden("The metrics are for operators")


async def list_apps(_call: Call) -> Reply:
    """The applications of this server."""
    apps = [{"name": name, "description": text, "api": f"/api/{name}"} for name, text in APPS]
    return json_reply({"apps": apps, "count": len(apps)})


async def get_document(call: Call, if_none_match: str | None) -> Reply:
    """The document, unless it is locked and nobody says who is asking."""
    if runtime().settings.docs == "locked" and call.principal.kind == "anonymous":
        raise unauthorized("The document is locked here. Send a key as Authorization: Bearer sy_...")
    return await _serve(call, await asyncio.to_thread(documentation.document, runtime().index), if_none_match)


async def get_docs(call: Call, if_none_match: str | None) -> Reply:
    """The page the document is read on."""
    page = await asyncio.to_thread(documentation.asset, documentation.PAGE)
    return await _serve(call, page, if_none_match, SAFE)


async def get_docs_asset(call: Call, asset: str, if_none_match: str | None) -> Reply:
    """A file of that page."""
    return await _serve(call, await asyncio.to_thread(documentation.asset, asset), if_none_match)


async def _serve(call: Call, text: Text, if_none_match: str | None, extra: RawHeaders | None = None) -> Reply:
    """The text in the form the caller takes, or 304 when it has that already."""
    body, coding, tag = await asyncio.to_thread(text.form, call.headers.get("accept-encoding", ""))
    told: RawHeaders = [NO_CACHE, (b"etag", tag.encode()), (b"vary", b"Accept-Encoding"), *(extra or [])]
    if documentation.holds(tag, if_none_match):
        return Reply(304, told)
    media = [(b"content-type", text.media_type.encode())]
    coded = [(b"content-encoding", coding.encode())] if coding else []
    return Reply(200, [*media, *coded, *told], body)
