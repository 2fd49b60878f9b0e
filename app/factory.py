"""Builds the server: the document, the planes behind the gate, and what runs beside them."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from functools import cache, partial
from importlib import import_module
from typing import Any

from flask_limiter import Limiter
from flask_limiter.errors import RateLimitExceeded
from sqlalchemy import Engine as Database

from app import allocator
from app import settings as configuration
from app.engine import Engine
from app.gaps import refuse_gaps
from app.gate import Gate
from app.gateway.lane import Gateway
from app.gateway.modules import chatmem
from app.gateway.prices.book import PriceBook
from app.observe import logs
from app.observe.meter import RequestMeter
from app.outbound import otlp
from app.outbound.mail import Server
from app.planes import AsyncPlane, sync_plane
from app.runtime import Runtime
from app.seam import dress, handler_of, say_limited
from app.security.authenticator import Authenticator
from app.security.secrets import load_or_create
from app.services import (
    answer_cache,
    approvals,
    bulk,
    chat_memory,
    guardrail_events,
    incident_records,
    kept_answers,
    mail,
)
from app.services.box_jobs import overseer
from app.services.box_jobs.files import store_of
from app.services.box_presence import CHECK_S, Presence
from app.services.bulk_run import BulkRun
from app.services.cron import planning
from app.services.cron.firing import Firing
from app.services.delivery import Delivery
from app.services.key_use import KeyUse
from app.services.metrics.scrape import Metrics
from app.services.observing import cohorts, exchange_log, intake
from app.services.observing.drift import Drift
from app.services.observing.pulse import Pulse
from app.services.observing.ratings import Feedback
from app.services.recorder import SPOOL, Recorder, RecorderThread
from app.services.relays.carrying import Carrying
from app.services.relays.intake import TASK as RELAY
from app.services.retention import Retention
from app.services.revisions import Watcher
from app.services.rollups import store
from app.services.row_jobs import duty
from app.services.spans.export import SpanExport
from app.services.training import turn as training
from app.services.webhooks.events import TASK as WEBHOOK
from app.services.webhooks.sending import Sending
from app.services.webhooks.watching import CircuitNews, ErrorRate
from app.services.wiping import turn as wiping
from app.settings import Settings, SettingsError
from app.spec.cache import cached_bundle
from app.spec.join import bundle
from app.spec.operations import Index
from app.wire import limits, shared_storage
from app.wire.call import current
from app.wire.replies import App, Message, Receive, Scope, Send
from app.wire.rules import compile_rules
from models.base import connect

log = logging.getLogger("yardmaster")
Json = dict[str, Any]
HOUR_S = 3_600.0


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
                await send(await self._begun())
            else:
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _begun(self) -> Message:
        """Start; a worker that cannot must say so, or the server would run it without its services."""
        try:
            await self.start()
        except Exception as error:
            log.exception("worker %d cannot start: %s", os.getpid(), type(error).__name__)
            return {"type": "lifespan.startup.failed"}
        log.info("worker %d is ready: %d operations", os.getpid(), len(self.runtime.index.by_id))
        return {"type": "lifespan.startup.complete"}

    async def start(self) -> None:
        """Begin what runs beside the requests."""
        for service in self.runtime.services:
            await service.start()

    async def stop(self) -> None:
        """End it, last started first, with nothing left unwritten."""
        for service in reversed(self.runtime.services):
            await service.stop()
        await asyncio.to_thread(self.runtime.engine.dispose)


def worker() -> Application:
    """The application of a worker process: what the server program asks for by name."""
    gc.disable()  # until everything is there
    allocator.give_back()
    settings = configuration.load()
    logs.configure(settings)
    made = create(settings, cached_bundle(settings.data))
    gc.collect()
    gc.freeze()  # what lives as long as the worker need not be looked through again and again
    gc.enable()
    return made


def create(settings: Settings | None = None, document: Json | None = None, handlers: str = "handlers") -> Application:
    """A worker's application; SpecError or SettingsError when it could not keep what the document says."""
    settings = settings or configuration.load()
    index = Index(document or bundle(), handlers)
    refuse_gaps(index)
    secrets = load_or_create(settings.data)
    engine = connect(settings.database)
    authenticator = Authenticator(engine, secrets, settings.admin_key)
    runtime = Runtime(settings, engine, secrets, index, authenticator, meter=RequestMeter())
    # New secrets first: whatever else is read anew may need them.
    runtime.on_change += [secrets.refresh, authenticator.forget]
    runtime.services += [Watcher(runtime), KeyUse(runtime)]
    limiter = _limiter(settings, engine)
    gate = _gate(runtime, limiter)
    runtime.gateway = _gateway(runtime, gate.limits)
    runtime.tasks = _engine(runtime)
    runtime.metrics = Metrics(runtime)
    runtime.services.append(runtime.metrics)
    duty.take_on(runtime)
    runtime.services.append(runtime.tasks)  # last to start and first to stop: tasks use the others
    return Application(gate, runtime)


def _engine(runtime: Runtime) -> Engine:
    """The engine, and what carries each kind of task out."""
    settings, tasks = runtime.settings, Engine(runtime)
    if settings.smtp_url:
        send = Delivery(runtime.engine, Server.parse(settings.smtp_url), settings.mail_from)
        tasks.register(mail.TASK, send, concurrency=4)
    carry = BulkRun(runtime.engine, {incident_records.KIND: incident_records.carrier(runtime.index.document)})
    tasks.register(bulk.TASK, carry, concurrency=2)
    fire = Sending(runtime.engine, runtime.secrets, settings.outbound_allowed)
    tasks.register(WEBHOOK, fire, concurrency=8)
    tasks.every(HOUR_S, "webhooks.sweep", fire.sweep)
    if collector := otlp.collector():
        tasks.every(SpanExport.EVERY_S, "spans", SpanExport(runtime.engine, collector))
    tasks.every(approvals.LAPSE_EVERY_S, "approvals.lapse", approvals.Lapse(runtime.engine))
    tasks.every(HOUR_S, "approvals.sweep", approvals.Sweep(runtime.engine, runtime.gateway.retention_days))
    tasks.every(60.0, "answers.sweep", answer_cache.Sweep(runtime.engine))
    tasks.every(60.0, "webhooks.error_rate", ErrorRate(runtime.engine))
    tasks.every(overseer.EVERY_S, "box.jobs", overseer.Overseer(runtime, store_of(runtime)))
    tasks.every(CHECK_S, "box.presence", Presence(runtime.engine))
    tasks.every(HOUR_S, "bulk.sweep", carry.sweep)
    tasks.every(
        HOUR_S, "chat_memory.sweep", chat_memory.Sweep(runtime.engine, lambda: runtime.gateway.config.of(chatmem.NAME))
    )
    tasks.every(HOUR_S, "guardrails.sweep", guardrail_events.Sweep(runtime.engine, runtime.gateway.retention_days))
    tasks.every(kept_answers.EVERY_S, "idempotency.sweep", kept_answers.Sweep(runtime.engine))
    _observe(tasks, runtime.engine)
    _call(tasks, runtime.engine)
    tasks.every(training.Turn.EVERY_S, training.NAME, training.Turn(runtime.engine, settings.data))
    tasks.every(training.Sweep.EVERY_S, f"{training.NAME}.sweep", training.Sweep(runtime.engine))
    tasks.every(HOUR_S, "retention", Retention(runtime.engine, runtime.gateway.retention_days))
    return tasks


def _call(tasks: Engine, database: Database) -> None:
    """What makes model calls by itself: on a schedule, and for what others send."""
    tasks.register(planning.TASK, Firing(database), concurrency=8)
    tasks.every(planning.Turn.EVERY_S, planning.NAME, planning.Turn(database))
    relaying = Carrying(database)
    tasks.register(RELAY, relaying, concurrency=4)
    tasks.every(HOUR_S, "relays.sweep", relaying.sweep)


def _observe(tasks: Engine, database: Database) -> None:
    """The turns of the modules that look at stored calls."""
    tasks.every(Pulse.EVERY_S, "alertpulse", Pulse(database))
    tasks.every(Drift.EVERY_S, "driftwatch", Drift(database))
    tasks.every(Feedback.EVERY_S, "feedbackloop", Feedback(database))
    tasks.every(exchange_log.Keeping.EVERY_S, "compliancelog", exchange_log.Keeping(database))
    tasks.every(cohorts.Turn.EVERY_S, cohorts.NAME, cohorts.Turn(database))
    tasks.every(HOUR_S, "retentionwipe", wiping.Turn(database))
    tasks.every(intake.Sweep.EVERY_S, "observers.sweep", intake.Sweep(database))


def _gateway(runtime: Runtime, counter: limits.Limits) -> Gateway:
    settings = runtime.settings
    gateway = Gateway(runtime.engine, settings, runtime.secrets, counter, PriceBook(settings.data / "prices.json"))
    runtime.authenticator.provider_of = gateway.provider_of
    runtime.on_change.append(gateway.reload)
    runtime.services += [gateway, CircuitNews(runtime.engine, gateway.attempts.turned)]
    runtime.services.append(RecorderThread(Recorder(settings.data / SPOOL, partial(store, runtime.engine))))
    return gateway


def _gate(runtime: Runtime, limiter: Limiter) -> Gate:
    index, rules = runtime.index, compile_rules(runtime.index)
    dressed = cache(lambda op_id: dress(index.by_id[op_id], limiter))
    plane, application = sync_plane(index.document, rules, dressed)
    limiter.init_app(application)
    _refuse_uncounted(limiter)
    application.register_error_handler(RateLimitExceeded, partial(say_limited, limiter=limiter))
    asynchronous = {o.id: handler_of(o) for o in index.by_id.values() if o.plane == "async"}
    planes: dict[str, App] = {"sync": plane, "async": AsyncPlane(rules, asynchronous.__getitem__)}
    counter = limits.Limits(limiter.storage if limiter.enabled else None)
    return Gate(runtime, planes, counter)


def _limiter(settings: Settings, engine: Database) -> Limiter:
    """One store for both planes: Flask-Limiter owns it, the gate counts in it too."""
    uri, options = _storage(settings, engine)
    enabled = settings.rate_limits == "on"
    return Limiter(
        lambda: current().client, storage_uri=uri, storage_options=options, strategy="fixed-window", enabled=enabled
    )


def _storage(settings: Settings, engine: Database) -> tuple[str, Json]:
    """Memory for one worker; what all workers share for several."""
    if settings.redis_url:
        try:
            import_module("app.wire.redis_storage")  # registers its scheme
        except ModuleNotFoundError:
            raise SettingsError("YARDMASTER_REDIS_URL needs a client: pip install 'yardmaster[redis]'") from None
        return "standby://", {"redis_url": settings.redis_url, "engine": engine}
    return (f"{shared_storage.SCHEME}://", {"engine": engine}) if settings.workers > 1 else ("memory://", {})


def _refuse_uncounted(limiter: Limiter) -> None:
    """SettingsError when limits are on and their store does not answer: they would hold nobody."""
    if limiter.enabled and not limiter.storage.check():
        raise SettingsError("limits are on, but YARDMASTER_REDIS_URL does not answer")
