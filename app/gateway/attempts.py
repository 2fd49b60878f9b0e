"""Trying: retries with backoff on one target, then the next target, with a circuit breaker on each provider."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from app.gateway.admission.admission import Admission
from app.gateway.breaker import CLOSED, Breaker, Passage
from app.gateway.config import Config
from app.gateway.exchange import Exchange
from app.gateway.failures import FailureError
from app.gateway.modules.catalogue import parse_duration
from app.gateway.settle import estimated
from app.gateway.wire import Target
from app.problems import Problem

T = TypeVar("T")
MOST_TURNED = 1_000


@dataclass(frozen=True, slots=True)
class Patience:
    """How often one target is asked again, and how long apart; seconds."""

    retries: int
    base: float
    longest: float
    jitter: bool

    def before(self, smaller: int) -> Patience:
        """The same where a smaller model is asked after so many failed attempts."""
        return replace(self, retries=min(self.retries, smaller - 1))

    def delay(self, repetition: int, asked: float | None) -> float | None:
        """Full-jitter backoff, or the provider's `Retry-After`; None when it asks for more than the longest wait."""
        if asked is not None:
            return asked if asked <= self.longest else None
        full = min(self.longest, self.base * 2**repetition)
        return random.uniform(0.0, full) if self.jitter else full  # noqa: S311 (spreading load, not secrets)


class RetryBudget:
    """How many repetitions a worker may make in a minute, so that an outage is not met with many times the calls."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._minute = -1
        self._made = 0
        self.most = 0
        self.refused = 0

    def take(self) -> bool:
        """Whether one more may be made; counted when it may."""
        if not self.most:
            return True
        if (minute := int(self._clock() // 60)) != self._minute:
            self._minute, self._made = minute, 0
        if self._made >= self.most:
            self.refused += 1
            return False
        self._made += 1
        return True


def patience(config: Config, *, raw_key: bool) -> Patience:
    """The retry module's settings; a call with the caller's own raw key is never repeated."""
    settings = config.of("retrypilot")
    retries = settings["max_retries"] if config.on("retrypilot") and not raw_key else 0
    base, longest = parse_duration(settings["base_delay"]), parse_duration(settings["max_delay"])
    return Patience(retries, base, longest, settings["jitter"])


class Attempts:
    """Runs attempts over targets; holds one breaker per provider of this server."""

    def __init__(self) -> None:
        self.breakers: dict[str, Breaker] = {}
        # Circuits that opened (true) or closed, with the failures by then; somebody beside the lane takes them out.
        self.turned: deque[tuple[str, bool, int]] = deque(maxlen=MOST_TURNED)
        self.budget = RetryBudget()
        self.downgraded = 0

    def configure(self, config: Config) -> None:
        """Take over the settings of retries and of breakers, keeping what the circuits know."""
        self._patience, self._once = (patience(config, raw_key=raw) for raw in (False, True))
        retries = config.of("retrypilot")
        self._hasty = self._patience.before(retries["downgrade_after"])
        self.budget.most = retries["budget"] if config.on("retrypilot") else 0
        settings: Mapping[str, Any] = config.of("failover")["circuit_breaker"]
        self._threshold = int(settings["failure_threshold"])
        self._recovery = parse_duration(settings["recovery_timeout"])
        for breaker in self.breakers.values():
            breaker.threshold, breaker.recovery = self._threshold, self._recovery

    def breaker(self, provider: str) -> Breaker:
        """The provider's circuit."""
        found = self.breakers.get(provider)
        if found is None:
            found = self.breakers[provider] = Breaker(self._threshold, self._recovery)
            found.tell = lambda opened, failures: self.turned.append((provider, opened, failures))
        return found

    async def run(
        self, exchange: Exchange, targets: Sequence[Target], config: Config, attempt: Callable[[Target], Awaitable[T]]
    ) -> T:
        """The first success; otherwise the Problem of the last target that was asked."""
        much = self._once if exchange.call.principal.secret else self._patience
        hasty = self._hasty if targets[-1].smaller else much
        exchange.provider, exchange.model = targets[0].provider.name, targets[0].model
        problem: Problem | None = None
        if exchange.afterwards:  # it asks anew
            exchange.over()
        for place, target in enumerate(targets):
            breaker = self._guard(target, config)
            passage = breaker.admit() if breaker else None
            if breaker and not passage:
                problem = problem or _open(target, breaker)
                continue
            held = exchange.provider, exchange.model
            exchange.provider, exchange.model = target.provider.name, target.model
            try:
                if target.smaller:
                    exchange.details = {**exchange.details, "downgraded_from": targets[0].model}
                way = self._persist if target.admission is None else self._admitted
                result = await way(exchange, target, attempt, much if target.smaller else hasty, passage)
                self.downgraded += target.smaller
                return result  # noqa: TRY300 (it is counted first)
            except FailureError as failure:
                exchange.failed(target, failure)
                if failure.unasked and place > 0:  # a stand-in that cannot do it is no reason to blame the caller
                    exchange.provider, exchange.model = held
                    continue
                problem = failure.problem
                exchange.usage = estimated(exchange, 0) if failure.billable else None
                if not failure.elsewhere:
                    break
        raise problem or Problem(500, "no target was tried")

    async def _admitted(
        self,
        exchange: Exchange,
        target: Target,
        attempt: Callable[[Target], Awaitable[T]],
        much: Patience,
        passage: Passage | None,
    ) -> T:
        """Try one target with what its provider asks of a call; without it, nothing was learnt of the provider."""
        admission, go = target.admission or Admission(), partial(self._persist, exchange, much=much, passage=passage)
        try:
            return await admission.through(exchange, target, attempt, go)
        except BaseException:
            if passage:
                passage.released()  # which changes nothing for one that was judged
            raise

    async def _persist(
        self,
        exchange: Exchange,
        target: Target,
        attempt: Callable[[Target], Awaitable[T]],
        much: Patience,
        passage: Passage | None,
    ) -> T:
        """Try one target until it answers, refuses for good, or has used up its repetitions or everybody's."""
        repetition = 0
        while True:
            exchange.attempts += 1
            try:
                result = await attempt(target)
            except FailureError as failure:
                exchange.attempts -= failure.unasked
                _judge(passage, failure)
                wait = much.delay(repetition, failure.wait)
                closed = passage is None or passage.breaker.state == CLOSED
                last = not failure.again or repetition >= much.retries or not closed
                if last or wait is None or not self.budget.take():
                    raise
            except BaseException:
                if passage:
                    passage.released()
                raise
            else:
                if passage:
                    passage.succeeded()
                return result
            repetition += 1
            await asyncio.sleep(wait)

    def _guard(self, target: Target, config: Config) -> Breaker | None:
        """The circuit of a target called with this server's key: what a user brought must not break it for others."""
        own = config.accounts.get(target.provider.name)
        if own is None or not config.on("failover") or (own.key, own.base_url) != (target.key, target.base_url):
            return None
        return self.breaker(target.provider.name)


def _judge(passage: Passage | None, failure: FailureError) -> None:
    if passage is None:
        return
    if failure.unasked:
        passage.released()
    elif failure.faulty:
        passage.failed()
    else:
        passage.succeeded()


def _open(target: Target, breaker: Breaker) -> Problem:
    wait = max(1, round(breaker.retry_after()))
    return Problem(
        503,
        f"The circuit of {target.provider.name} is open after repeated failures; it is probed again in {wait}s",
        code="circuit_open",
        details={"provider": target.provider.name},
        headers={"retry-after": str(wait)},
    )
