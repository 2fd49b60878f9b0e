"""Builds the server: the document, the planes behind the gate, and what runs beside them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from flask_limiter import Limiter
from flask_limiter.errors import RateLimitExceeded

from app import settings as configuration
from app.gate import Gate
from app.gateway.lane import Gateway
from app.gateway.prices import builtin, load_overrides
from app.outbound.mail import Mailer
from app.planes import AsyncPlane, sync_plane
from app.runtime import Runtime
from app.seam import dress, handler_of, say_limited
from app.security.authenticator import SCHEMES, Authenticator
from app.security.secrets import load_or_create
from app.services import incident_records
from app.services.bulk_worker import BulkWorker
from app.services.key_use import KeyUse
from app.services.recorder import SPOOL, Recorder, RecorderThread
from app.services.revisions import Watcher
from app.services.rollups import store
from app.settings import Settings
from app.spec.join import bundle
from app.spec.operations import Index, SpecError
from app.wire import dialects, limits, pages
from app.wire.call import current
from app.wire.replies import Receive, Scope, Send
from app.wire.rules import compile_rules
from models.base import connect

log = logging.getLogger("yardmaster")
Json = dict[str, Any]


class Application:
    """The ASGI application of one worker."""

    def __init__(self, gate: Gate, runtime: Runtime) -> None:
        self.gate = gate
        self.runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or the worker's start and end."""
        if scope["type"] == "http":
            await self.gate(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await send({"type": "websocket.close", "code": 4404})

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def start(self) -> None:
        """Begin what runs beside the requests."""
        for service in self.runtime.services:
            await service.start()

    async def stop(self) -> None:
        """End it, last started first, with nothing left unwritten."""
        for service in reversed(self.runtime.services):
            await service.stop()
        await asyncio.to_thread(self.runtime.engine.dispose)


def create(settings: Settings | None = None, document: Json | None = None) -> Application:
    """A worker's application; SpecError or SettingsError when it could not keep what the document says."""
    settings = settings or configuration.load()
    index = Index(document or bundle())
    refuse_gaps(index)
    secrets = load_or_create(settings.data)
    engine = connect(settings.database)
    authenticator = Authenticator(engine, secrets, settings.admin_key)
    runtime = Runtime(settings, engine, secrets, index, authenticator)
    # New secrets first: whatever else is read anew may need them.
    runtime.on_change += [secrets.refresh, authenticator.forget]
    runtime.services += [Watcher(runtime), KeyUse(runtime), Mailer(engine, settings)]
    runtime.services.append(BulkWorker(runtime, {incident_records.KIND: incident_records.carrier(index.document)}))
    limiter = _limiter(settings)
    gate = _gate(runtime, limiter)
    runtime.gateway = _gateway(runtime, gate.limits)
    return Application(gate, runtime)


def _gateway(runtime: Runtime, counter: limits.Limits) -> Gateway:
    settings = runtime.settings
    prices = builtin().with_overrides(load_overrides(settings.data / "prices.json"))
    gateway = Gateway(runtime.engine, settings.data, runtime.secrets, counter, prices)
    runtime.authenticator.provider_of = gateway.provider_of
    runtime.on_change.append(gateway.reload)
    runtime.services.append(gateway)
    runtime.services.append(RecorderThread(Recorder(settings.data / SPOOL, partial(store, runtime.engine))))
    return gateway


def _gate(runtime: Runtime, limiter: Limiter) -> Gate:
    index, rules = runtime.index, compile_rules(runtime.index)
    dressed = cache(lambda op_id: dress(index.by_id[op_id], limiter))
    plane, application = sync_plane(index.document, rules, dressed)
    limiter.init_app(application)
    application.register_error_handler(RateLimitExceeded, partial(say_limited, limiter=limiter))
    asynchronous = {o.id: handler_of(o) for o in index.by_id.values() if o.plane == "async"}
    planes = {"sync": plane, "async": AsyncPlane(rules, asynchronous.__getitem__)}
    counter = limits.Limits(limiter.limiter if limiter.enabled else None)
    return Gate(runtime, planes, counter)


def _limiter(settings: Settings) -> Limiter:
    """One store for both planes: Flask-Limiter owns it, the gate counts in it too."""
    return Limiter(
        lambda: current().client,
        storage_uri=settings.redis_url or "memory://",
        strategy="fixed-window",
        enabled=settings.rate_limits == "on",
    )


Check = Callable[[Index], list[str]]


def refuse_gaps(index: Index) -> None:
    """Raise SpecError listing every promise of the document that this server could not keep."""
    if gaps := [gap for check in CHECKS for gap in check(index)]:
        raise SpecError("the document has gaps:\n" + "\n".join(f"- {gap}" for gap in gaps))


def _dialects(index: Index) -> list[str]:
    manners = index.document["x-dialects"]
    wrong = [f"dialect {n}: unknown errors {m['errors']}" for n, m in manners.items() if m["errors"] not in dialects.ENVELOPES]
    wrong += [f"dialect {n}: unknown pages {m['pages']}" for n, m in manners.items() if m["pages"] not in pages.STYLES]
    return wrong + [f"dialect {n}: unknown header {h}" for n, m in manners.items() for h in m["headers"] if h not in limits.HEADERS]


def _security(index: Index) -> list[str]:
    used = {(o.id, scheme) for o in index.by_id.values() for r in o.security for scheme in r}
    return [f"{id_}: no verifier for security scheme {scheme}" for id_, scheme in sorted(used) if scheme not in SCHEMES]


def _handlers(index: Index) -> list[str]:
    missing = []
    for operation in index.by_id.values():
        try:
            handler_of(operation)
        except SpecError as error:
            missing.append(str(error))
    return missing


def _planes(index: Index) -> list[str]:
    wrong = [f"{o.id}: unknown plane {o.plane}" for o in index.by_id.values() if o.plane not in {"sync", "async"}]
    return wrong + [
        f"{o.id}: x-limit is enforced on the sync plane only"
        for o in index.by_id.values()
        if o.plane == "async" and o.limit not in {"", "exempt"}
    ]


CHECKS: tuple[Check, ...] = (_dialects, _security, _handlers, _planes)
