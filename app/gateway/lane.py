"""The lane: one path for every model call, streamed or not, from the validated body to the settled trace."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Engine

from app.gateway import config as configuration
from app.gateway import routing, settle, streams
from app.gateway.answer_cache import AnswerCache, Kept, key_of
from app.gateway.attempts import Attempts, impossible, nonsense, refused, timed_out, unreachable
from app.gateway.exchange import Exchange, begin
from app.gateway.hangup import HangUp
from app.gateway.modules.catalogue import parse_duration
from app.gateway.personal import PersonalAccounts
from app.gateway.prices.table import PriceTable
from app.gateway.providers import provider_for_key
from app.gateway.shield import Shield
from app.gateway.spool import Spool
from app.gateway.transport import HttpTransport
from app.gateway.wire import Answer, BadAnswerError, Kind, Target, Transport
from app.problems import Problem
from app.security.secrets import Secrets
from app.services.recorder import SPOOL
from app.wire.call import Call
from app.wire.limits import Limits
from app.wire.replies import JSON_TYPE, Reply

STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class Gateway:
    """One worker's gateway. Everything a request consults is in memory; settings are replaced whole by `reload`."""

    def __init__(self, engine: Engine, data: Path, secrets: Secrets, counter: Limits, prices: PriceTable) -> None:
        self._engine = engine
        self._accounts = configuration.accounts()
        self.config = configuration.load(engine, self._accounts)
        self.prices = prices
        self.transport = HttpTransport()
        self.personal = PersonalAccounts(engine, secrets)
        self.attempts = Attempts()
        self.attempts.configure(self.config)
        self.cache = AnswerCache()
        self.shield = Shield(counter)
        self.spool = Spool(data / SPOOL)

    async def start(self) -> None:
        """Open the pool and the spool."""
        await self.transport.start()
        self.spool.open()

    async def stop(self) -> None:
        """Write what is left; close what is open."""
        self.spool.close()
        await self.transport.stop()

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
            exchange.wanted_provider = exchange.wanted_provider or alias[1]
        try:
            return self._hit(exchange, config) or await self._ask(exchange, config)
        except Problem as problem:
            settle.failed(exchange, problem)
            self._settle(exchange)
            problem.headers |= {k.decode(): v.decode("latin-1") for k, v in settle.identity(exchange)}
            raise

    async def _ask(self, exchange: Exchange, config: configuration.Config) -> Reply:
        user = exchange.call.principal.user_id
        personal = await self.personal.of(user) if user is not None else {}
        targets = routing.targets(exchange, config, personal)
        if exchange.stream:
            return await self._stream(exchange, targets, config)
        return await self._plain(exchange, targets, config)

    async def _plain(self, exchange: Exchange, targets: Sequence[Target], config: configuration.Config) -> Reply:
        with HangUp(exchange.call) as hang_up:
            try:
                answer = await self.attempts.run(exchange, targets, config, partial(self._post, exchange))
            except asyncio.CancelledError:
                settle.failed(exchange, Problem(streams.CLIENT_GONE, "the client hung up", code="client_gone"))
                self._settle(exchange)
                if not hang_up.happened:
                    raise
                return Reply(streams.CLIENT_GONE)
        exchange.usage = answer.usage if answer.usage.reported else settle.estimated(exchange, answer.usage.output)
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
            async with asyncio.timeout(provider.timeout):
                response = await self._carrier(target)(outgoing)
                try:
                    raw = await response.read()
                finally:
                    await response.close()
        except TimeoutError as error:
            raise timed_out(target, provider.timeout) from error
        except OSError as error:
            raise unreachable(target, error) from error
        if response.status >= 400:  # noqa: PLR2004
            refusal, after = provider.wire.refusal(response.status, raw), response.headers.get("retry-after")
            raise refused(target, response.status, refusal, after, raw_key=bool(exchange.call.principal.secret))
        try:
            return provider.wire.answer(exchange.kind, raw, target.model)
        except BadAnswerError as error:
            raise nonsense(target, error) from error

    def _carrier(self, target: Target) -> Transport:
        return target.provider.transport or self.transport

    async def _stream(self, exchange: Exchange, targets: Sequence[Target], config: configuration.Config) -> Reply:
        async def attempt(target: Target) -> streams.Opened:
            try:
                return await streams.open_stream(exchange, target, self._carrier(target))
            except ValueError as error:
                raise impossible(error) from error

        opened = await self.attempts.run(exchange, targets, config, attempt)
        head = [*STREAM_HEADERS, *settle.identity(exchange), *exchange.headers]
        return Reply(200, head, chunks=streams.send_stream(exchange, opened, partial(self._streamed, config)))

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
        found = None if exchange.call.arguments.get("x_stockyard_no_cache") == "true" else self.cache.get(exchange.cache_key)
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

    def _settle(self, exchange: Exchange) -> None:
        """Price the call and spool its trace: after this, a crash loses nothing of it."""
        settle.priced(exchange, self.prices)
        logging = self.config.of("logging")
        keep = self.config.on("logging") and logging["store_bodies"]
        self.spool.append(settle.record(exchange, logging["max_body_size"] if keep else 0))
