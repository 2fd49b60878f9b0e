"""The lane: one path for every model call, streamed or not, from the validated body to the settled trace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import orjson
from sqlalchemy import Engine

from app.gateway import config as configuration
from app.gateway import routing, settle, streams
from app.gateway.answer_cache import AnswerCache, Kept, key_of
from app.gateway.attempts import Attempts
from app.gateway.deadline import Deadline
from app.gateway.delivery import as_asked
from app.gateway.exchange import Exchange, begin
from app.gateway.failures import accepted, impossible, nonsense, refused, timed_out, unanswered
from app.gateway.hangup import HangUp
from app.gateway.modules.catalogue import parse_duration
from app.gateway.personal import PersonalAccounts
from app.gateway.prices.book import PriceBook
from app.gateway.prices.table import PriceTable
from app.gateway.providers import provider_for_key
from app.gateway.shield import Shield
from app.gateway.spool import Spool
from app.gateway.tally import Tally
from app.gateway.transport import HttpTransport
from app.gateway.wire import Answer, BadAnswerError, Kind, Target, Transport
from app.problems import Problem
from app.security.secrets import Secrets
from app.services.recorder import SPOOL
from app.settings import Settings
from app.wire.call import Call
from app.wire.limits import Limits
from app.wire.replies import JSON_TYPE, Reply

T = TypeVar("T")
Attempt = Callable[[Target], Awaitable[T]]

RETRY_S = 1.0
STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class Gateway:
    """One worker's gateway. Everything a request consults is in memory; settings are replaced whole by `reload`."""

    def __init__(self, engine: Engine, settings: Settings, secrets: Secrets, counter: Limits, book: PriceBook) -> None:
        self._engine = engine
        self._accounts = configuration.accounts()
        self.config = configuration.load(engine, self._accounts)
        self._book = book
        self.transport = HttpTransport(settings.outbound_allowed)
        self.personal = PersonalAccounts(engine, secrets)
        self.attempts = Attempts()
        self.attempts.configure(self.config)
        self.cache = AnswerCache()
        self.shield = Shield(counter)
        self.spool = Spool(settings.data / SPOOL)
        self.tally = Tally()
        self.pace = streams.Pace()
        self._tending: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the pool and the spool."""
        await self.transport.start()
        self.spool.open()
        self._tending = asyncio.create_task(self._tend())

    async def stop(self) -> None:
        """Write what is left; close what is open."""
        if self._tending:
            self._tending.cancel()
        self.spool.close()
        await self.transport.stop()

    async def _tend(self) -> None:
        """Write what the disk refused as soon as it takes it, and notice imported prices, whether calls come or not."""
        while True:
            await asyncio.sleep(RETRY_S)
            self.spool.retry()
            self._book.refresh()

    @property
    def prices(self) -> PriceTable:
        """The prices in force."""
        return self._book.table

    def retention_days(self) -> int:
        """How long traces are kept."""
        return int(self.config.of("logging")["retention_days"])

    def reload(self) -> None:
        """Take over settings that changed, here or in another worker."""
        self.config = configuration.load(self._engine, self._accounts)
        self.attempts.configure(self.config)
        self.personal.forget()

    def provider_of(self, key: str) -> str | None:
        """The provider a raw key belongs to, while such keys are accepted."""
        return provider_for_key(key) if self.config.of("authgate")["accept_provider_keys"] else None

    async def handle(self, kind: Kind, call: Call) -> Reply:
        """Serve one call; Problem when it is refused. From routing on, every outcome leaves exactly one trace."""
        config = self.config
        exchange = begin(call, kind)
        if config.on("rateshield"):
            await self.shield.admit(exchange, config.of("rateshield"))
        if config.on("modelalias") and (alias := config.aliases.get(exchange.model)):
            exchange.model = alias[0]
            self.tally.renamed += 1
            exchange.wanted_provider = exchange.wanted_provider or alias[1]
        try:
            return self._hit(exchange, config) or await self._ask(exchange, config)
        except Problem as problem:
            self._fail(exchange, problem)
            problem.headers |= {k.decode(): v.decode("latin-1") for k, v in settle.identity(exchange)}
            raise
        except Exception as error:
            self._fail(exchange, Problem(500, f"the gateway failed: {type(error).__name__}"))
            raise

    async def _ask(self, exchange: Exchange, config: configuration.Config) -> Reply:
        user = exchange.call.principal.user_id
        personal = await self.personal.of(user) if user is not None else {}
        targets = routing.targets(exchange, config, personal)
        if exchange.stream:
            return await self._stream(exchange, targets, config)
        return await self._plain(exchange, targets, config)

    async def _try(
        self, exchange: Exchange, targets: Sequence[Target], config: configuration.Config, attempt: Attempt[T]
    ) -> T | None:
        """The first success; None when the client hung up before there was one, which is settled then."""
        with HangUp(exchange.call) as hang_up:
            try:
                return await self.attempts.run(exchange, targets, config, attempt)
            except asyncio.CancelledError:
                exchange.usage = settle.estimated(exchange, 0) if exchange.attempts else None
                self._fail(exchange, streams.gone())
                if not hang_up.caught():
                    raise
                return None

    async def _plain(self, exchange: Exchange, targets: Sequence[Target], config: configuration.Config) -> Reply:
        answer = await self._try(exchange, targets, config, partial(self._post, exchange))
        if answer is None:
            return Reply(streams.CLIENT_GONE)
        exchange.usage = answer.usage
        exchange.response = answer.raw or orjson.dumps(answer.body)
        self._settle(exchange)
        if exchange.cache_key:
            self._keep(exchange, answer, config)
        return Reply(200, [JSON_TYPE, *settle.headers(exchange), *exchange.headers], exchange.response)

    async def _post(self, exchange: Exchange, target: Target) -> Answer:
        """One attempt at a whole answer."""
        provider = target.provider
        try:
            outgoing = provider.wire.outgoing(exchange.kind, exchange.body, target)
        except ValueError as error:
            raise impossible(error) from error
        try:
            with Deadline(provider.timeout):
                response = await self._carrier(target)(outgoing)
                try:
                    raw = await response.read()
                finally:
                    await response.close()
        except TimeoutError as error:
            raise timed_out(target) from error
        except OSError as error:
            raise unanswered(target, error) from error
        if not accepted(response):
            raise refused(exchange, target, response, raw)
        try:
            return as_asked(exchange, provider.wire.answer(exchange.kind, raw, target.model))
        except BadAnswerError as error:
            raise nonsense(target, error) from error

    def _carrier(self, target: Target) -> Transport:
        return target.provider.transport or (self.transport.guarded if target.guarded else self.transport)

    async def _stream(self, exchange: Exchange, targets: Sequence[Target], config: configuration.Config) -> Reply:
        async def attempt(target: Target) -> streams.Opened:
            return await streams.open_stream(exchange, target, self._carrier(target), self.pace)

        opened = await self._try(exchange, targets, config, attempt)
        if opened is None:
            return Reply(streams.CLIENT_GONE)
        head = [*STREAM_HEADERS, *settle.identity(exchange), *exchange.headers]
        return Reply(200, head, chunks=streams.Sending(exchange, opened, partial(self._streamed, config), self.pace))

    def _streamed(self, config: configuration.Config, exchange: Exchange) -> None:
        self._settle(exchange)
        if exchange.cache_key and exchange.status == "ok" and exchange.response and exchange.usage:
            body = orjson.loads(exchange.response)
            self._keep(exchange, Answer(body, exchange.usage), config)

    def _hit(self, exchange: Exchange, config: configuration.Config) -> Reply | None:
        """The kept answer of the same request, as a stream when a stream was asked for."""
        if not config.on("cachelayer"):
            return None
        exchange.cache_key = key_of(exchange, config.version)
        fresh = exchange.call.arguments.get("x_stockyard_no_cache") == "true"
        found = None if fresh else self.cache.get(exchange.cache_key)
        if found is None:
            return None
        raw, kept = found
        exchange.cached, exchange.status, exchange.provider = True, "cache_hit", kept.provider
        exchange.usage, exchange.saved_nano, exchange.response = kept.usage, kept.cost_nano or 0, raw
        exchange.first_byte_us = exchange.elapsed_us
        self._settle(exchange)
        if exchange.stream:
            head = [*STREAM_HEADERS, *settle.identity(exchange), *exchange.headers]
            return Reply(200, head, streams.replayed(kept.body, exchange))
        return Reply(200, [JSON_TYPE, *settle.headers(exchange), *exchange.headers], raw)

    def _keep(self, exchange: Exchange, answer: Answer, config: configuration.Config) -> None:
        settings: Mapping[str, Any] = config.of("cachelayer")
        expires = self.cache.expiry(parse_duration(settings["ttl"]))
        kept = Kept(answer.body, answer.usage, exchange.cost_nano, exchange.provider, expires)
        if exchange.cache_key and exchange.response:
            self.cache.put(exchange.cache_key, exchange.response, kept, settings["max_entries"])

    def _fail(self, exchange: Exchange, problem: Problem) -> None:
        settle.failed(exchange, problem)
        self._settle(exchange)

    def _settle(self, exchange: Exchange) -> None:
        """Price the call and spool its trace: after this, a crash loses nothing of it."""
        settle.priced(exchange, self.prices)
        self.tally.count(exchange)
        logging = self.config.of("logging")
        keep = self.config.on("logging") and logging["store_bodies"]
        self.spool.append(settle.record(exchange, logging["max_body_size"] if keep else 0))
