"""The lane: one path for every model call, streamed or not, from the validated body to the settled trace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from sqlalchemy import Engine

from app.gateway import config as configuration
from app.gateway import replaying, routing, settle, streams
from app.gateway.admission.desk import Admissions
from app.gateway.aside import Aside
from app.gateway.attempts import Attempts
from app.gateway.cache.answers import Answers
from app.gateway.cache.keys import stamped
from app.gateway.cache.memory import Found
from app.gateway.caps.stores import caps_of
from app.gateway.counts import counts_of
from app.gateway.exchange import Exchange, begin
from app.gateway.fanout import FanOut
from app.gateway.hangup import Lookout
from app.gateway.idempotency.desk import Idempotency
from app.gateway.inbound.presentation import Inbound
from app.gateway.modules.registry import Modules
from app.gateway.personal import PersonalAccounts
from app.gateway.posting import post
from app.gateway.prices.book import PriceBook
from app.gateway.prices.table import PriceTable
from app.gateway.providers import provider_for_key
from app.gateway.restoring import restored
from app.gateway.shield import Shield
from app.gateway.spool import Spool
from app.gateway.steps import Place
from app.gateway.tally import Tally
from app.gateway.transport import HttpTransport
from app.gateway.wire import Answer, Json, Kind, Target, Transport, Usage
from app.problems import Problem
from app.security.secrets import Secrets
from app.services.recorder import SPOOL
from app.services.vault.closing import NAME as VAULT
from app.services.vault.closing import Keychain, Vault
from app.settings import Settings
from app.wire.call import Call
from app.wire.limits import Limits
from app.wire.replies import JSON_TYPE, Reply

T = TypeVar("T")
Attempt = Callable[[Target], Awaitable[T]]
Again = Callable[[], Awaitable[Answer | None]]

RETRY_S = 1.0


async def _nobody() -> Answer | None:
    """Who is asked again for an answer that no provider gave."""
    return None


class Gateway:
    """One worker's gateway. Everything a request consults is in memory; settings are replaced whole by `reload`."""

    def __init__(self, engine: Engine, settings: Settings, secrets: Secrets, counter: Limits, book: PriceBook) -> None:
        self._engine = engine
        self._accounts = configuration.accounts()
        self.admissions = Admissions(secrets, settings.workers)
        self.config = self._configured()
        self.transport = HttpTransport(settings.outbound_allowed)
        counts = counts_of(engine, settings)
        self.vault = Vault()
        self._seal(self.config)
        around = Place(engine, settings.data, counts, self.transport, lambda: self.config.accounts, self.vault.closed)
        self.modules = Modules(around)
        self.chain = self.modules.compiled(self.config)
        self._book = book
        self.personal = PersonalAccounts(engine, secrets)
        self.attempts = Attempts()
        self.attempts.configure(self.config)
        self.shield = Shield(counter)
        self.caps = caps_of(engine, settings)
        self.caps.configure(self.config)
        sealing = Keychain(secrets, self.vault)
        self.idempotency = Idempotency(engine, sealing)
        self.aside = Aside(self._targets, self.attempts, self._post, self._settle)
        self.answers = Answers(engine, settings, sealing, self.aside.embed)
        self.answers.configure(self.config)
        self.spool = Spool(settings.data / SPOOL)
        self.tally = Tally()
        self.lookout = Lookout()
        self.pace = streams.Pace()
        self._tending: asyncio.Task[None] | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Open the pool and the spool."""
        await self.transport.start()
        self.spool.open()
        self.caps.start()
        self.idempotency.start()
        self.loop = asyncio.get_running_loop()
        self._tending = asyncio.create_task(self._tend())

    async def stop(self) -> None:
        """Write what is left; close what is open."""
        if self._tending:
            self._tending.cancel()
        self.idempotency.stop()
        await self.caps.stop()
        await self.answers.stop()
        await self.modules.stop()
        self.spool.close()
        await self.transport.stop()

    async def _tend(self) -> None:
        """Once a second, whether calls come or not: write what the disk refused, notice prices, tend to modules."""
        while True:
            await asyncio.sleep(RETRY_S)
            self.spool.retry()
            self._book.refresh()
            self.modules.tend()

    @property
    def prices(self) -> PriceTable:
        """The prices in force."""
        return self._book.table

    def retention_days(self) -> int:
        """How long traces are kept."""
        return int(self.config.of("logging")["retention_days"])

    def _configured(self) -> configuration.Config:
        return stamped(self._engine, self.admissions.over(configuration.load(self._engine, self._accounts)))

    def reload(self) -> None:
        """Take over settings that changed, here or in another worker.

        The settings come last: what is made by old rules, or with an old key, is never kept under their stamp.
        """
        config = self._configured()
        rerouted = config.rules != self.config.rules or config.of("failover") != self.config.of("failover")
        self.chain = self.modules.compiled(config)
        self.personal.forget()
        self._seal(config)
        self.config = config
        self.attempts.configure(config)
        self.caps.configure(config)
        if self.answers.configure(config) or rerouted:  # a vector of another model's space is worse than none
            self._forget()

    def _seal(self, config: configuration.Config) -> None:
        self.vault.configure(config.of(VAULT), on=config.on(VAULT))

    def _forget(self) -> None:
        """Let go of what is remembered of calls, on the thread that remembers it."""
        if self.loop and self.loop.is_running():
            for forget in (self.answers.forget, self.modules.forget):
                self.loop.call_soon_threadsafe(forget)

    def provider_of(self, key: str) -> str | None:
        """The provider a raw key belongs to, while such keys are accepted."""
        return provider_for_key(key) if self.config.of("authgate")["accept_provider_keys"] else None

    async def handle(self, kind: Kind, call: Call, inbound: Inbound | None = None) -> Reply:
        """Serve one call; Problem when it is refused. From routing on, every outcome leaves exactly one trace.

        A repetition under an `Idempotency-Key` is answered before, and leaves none.
        """
        config = self.config
        exchange = begin(call, kind, inbound)
        if self.chain.active:
            exchange.chain = self.chain
            await self.chain.enter(exchange)
        if config.on("rateshield"):
            await self.shield.admit(exchange, config.of("rateshield"))
        if key := call.arguments.get("idempotency_key"):
            return await self.idempotency.once(exchange, key, partial(self._serve, config))
        return await self._serve(config, exchange)

    async def _serve(self, config: configuration.Config, exchange: Exchange) -> Reply:
        if config.on("modelalias") and (alias := config.aliases.get(exchange.model)):
            exchange.model = alias[0]
            self.tally.renamed += 1
            exchange.wanted_provider = exchange.wanted_provider or alias[1]
        try:
            if exchange.chain:
                await exchange.chain.admit(exchange)
                if exchange.fan and exchange.made is None:
                    return await FanOut(self, exchange, exchange.fan, config).served()
            return await self.ask(exchange, config)
        except Exception as error:
            self.broke(exchange, error)
            raise

    def broke(self, exchange: Exchange, error: Exception) -> None:
        """Settle a call that ends with an error; a refusal names its trace."""
        if not isinstance(error, Problem):
            self.fail(exchange, Problem(500, f"the gateway failed: {type(error).__name__}"))
            return
        self.fail(exchange, error)
        if exchange.label:
            exchange.label.refuse(exchange, error)
        error.headers |= {k.decode(): v.decode("latin-1") for k, v in settle.identity(exchange)}

    async def ask(self, exchange: Exchange, config: configuration.Config) -> Reply:
        """The answer of whom the call is routed to; Problem, or CancelledError with the call settled if it was made."""
        if config.on("cachelayer"):
            found = self.answers.known(exchange, config) or await self.answers.found(exchange, config)
            if found:
                return self._given(exchange, found)
        if exchange.made:
            return await self._finished(exchange, exchange.made, config, _nobody)
        targets = await self._targets(exchange, config)
        if exchange.stream and not exchange.waits:
            return await self._stream(exchange, targets, config)
        return await self._plain(exchange, targets, config)

    async def _targets(self, exchange: Exchange, config: configuration.Config) -> list[Target]:
        """Where the call may go, its worst case held."""
        user = exchange.call.principal.user_id
        personal = await self.personal.of(user) if user is not None else {}
        found = (exchange.route or routing.targets)(exchange, config, personal)
        if exchange.chain and exchange.chain.holds:
            found = await exchange.chain.hold(exchange, found, self.caps.worst(exchange, found, self.prices))
        return await self.caps.hold(exchange, found, self.prices)

    async def _try(
        self, exchange: Exchange, targets: Sequence[Target], config: configuration.Config, attempt: Attempt[T]
    ) -> T | None:
        """The first success; None when the client hung up before there was one, which is settled then."""
        with self.lookout.watch(exchange.call) as hang_up:
            try:
                going = self.attempts.run(exchange, targets, config, attempt)
                return await (exchange.leash.hold(going) if exchange.leash else going)
            except asyncio.CancelledError:
                exchange.usage = settle.estimated(exchange, 0) if exchange.attempts else None
                self.fail(exchange, streams.gone())
                if not hang_up.caught():
                    raise
                return None

    async def _plain(self, exchange: Exchange, targets: Sequence[Target], config: configuration.Config) -> Reply:
        again = partial(self._try, exchange, targets, config, partial(self._post, exchange))
        answer = await again()
        return Reply(streams.CLIENT_GONE) if answer is None else await self._finished(exchange, answer, config, again)

    async def _finished(self, exchange: Exchange, answer: Answer, config: configuration.Config, again: Again) -> Reply:
        """A whole answer, through what modules have to say of it, settled and kept."""
        exchange.usage = answer.usage
        if exchange.chain:
            judged = await exchange.chain.judged(exchange, answer, again)
            if judged is None:
                return Reply(streams.CLIENT_GONE)
            exchange.usage = judged.usage
            answer = exchange.chain.answered(exchange, judged)
        raw, exchange.said = None if exchange.inbound else answer.raw, answer.body
        exchange.response = raw or exchange.presented(answer.body, answer.usage)
        self._settle(exchange)
        if exchange.cache_key:
            self.answers.keep(exchange, answer, config)
        return self.reply(exchange, answer.body, answer.usage, exchange.response)

    def reply(self, exchange: Exchange, body: Json, usage: Usage, raw: bytes) -> Reply:
        """A whole answer as it was asked for: plain, or as the stream it would have been."""
        if exchange.restore:
            body = restored(exchange.restore, body)
            raw = exchange.presented(body, usage)
        if exchange.label:
            body = exchange.label.answer(exchange, body, usage)
            raw = exchange.presented(body, usage)
        if exchange.stream:
            return replaying.reply(body, exchange, usage, self.pace)
        return Reply(200, [JSON_TYPE, *settle.headers(exchange), *exchange.headers], raw)

    async def _post(self, exchange: Exchange, target: Target) -> Answer:
        return await post(exchange, target, self._carrier(target))

    def _carrier(self, target: Target) -> Transport:
        return target.provider.transport or (self.transport.guarded if target.guarded else self.transport)

    async def _stream(self, exchange: Exchange, targets: Sequence[Target], config: configuration.Config) -> Reply:
        async def attempt(target: Target) -> streams.Opened:
            return await streams.open_stream(exchange, target, self._carrier(target), self.pace)

        opened = await self._try(exchange, targets, config, attempt)
        if opened is None:
            return Reply(streams.CLIENT_GONE)
        head = [*streams.HEADERS, *settle.identity(exchange), *exchange.headers]
        return Reply(200, head, chunks=streams.Sending(exchange, opened, partial(self._streamed, config), self.pace))

    def _streamed(self, config: configuration.Config, exchange: Exchange) -> None:
        self._settle(exchange)
        if exchange.cache_key and exchange.status == "ok" and exchange.said and exchange.usage:
            self.answers.keep(exchange, Answer(exchange.said, exchange.usage), config)

    def _given(self, exchange: Exchange, found: Found) -> Reply:
        """The kept answer of the same request, as a stream when a stream was asked for."""
        raw = self.answers.give(exchange, found)
        self._settle(exchange)
        return self.reply(exchange, found[1].body, found[1].usage, raw)

    def fail(self, exchange: Exchange, problem: Problem) -> None:
        """Settle a call as one that failed."""
        settle.failed(exchange, problem)
        if not (exchange.fan and exchange.fan.begun):  # the calls it became have their own traces
            self._settle(exchange)

    def _settle(self, exchange: Exchange) -> None:
        """Price the call and spool its trace: after this, a crash loses nothing of it."""
        settle.priced(exchange, self.prices)
        self.tally.count(exchange)
        logging = self.config.of("logging")
        keep = self.config.on("logging") and logging["store_bodies"]
        most = logging["max_body_size"] if keep else 0
        self.spool.append(self.vault.kept(settle.record(exchange, most, redacted=logging["redact_keys"])))
        self.caps.settle(exchange)
        if exchange.afterwards:
            exchange.over()
        if self.answers.under_way:
            self.answers.landed(exchange)
        for settled in exchange.chain.settlers if exchange.chain else ():
            settled(exchange)
