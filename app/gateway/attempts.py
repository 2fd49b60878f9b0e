"""Trying: retries with backoff on one target, then the next target, with a circuit breaker on each provider."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from app.gateway.breaker import Breaker
from app.gateway.config import Config
from app.gateway.exchange import Exchange
from app.gateway.modules.catalogue import parse_duration
from app.gateway.wire import Refusal, Target
from app.problems import Problem

T = TypeVar("T")
NEVER_RETRY = {"x-should-retry": "false"}
# The caller's own mistake: nobody else would answer it, and the provider is well.
CALLERS_FAULT = frozenset({400, 404, 409, 413, 415, 422})
OPERATORS_FAULT = frozenset({401, 402, 403})


class FailureError(Exception):
    """One attempt failed. `again` allows a repetition there, `elsewhere` another provider; `faulty` counts against it."""

    def __init__(
        self, problem: Problem, *, again: bool, elsewhere: bool = True, faulty: bool = True, wait: float | None = None
    ) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.again = again
        self.elsewhere = elsewhere
        self.faulty = faulty
        self.wait = wait


def refused(target: Target, status: int, refusal: Refusal, retry_after: str | None, *, raw_key: bool) -> FailureError:
    """A provider's non-2xx as ours: the caller's mistakes keep their status, the rest is 429 or 502."""
    name = target.provider.name
    details = {"provider": name, "provider_status": status}
    details |= {k: v for k, v in (("type", refusal.type), ("param", refusal.param), ("provider_code", refusal.code)) if v}
    said = f"{name}: {refusal.message}"
    if status in CALLERS_FAULT or (raw_key and status in OPERATORS_FAULT):
        return FailureError(Problem(status, said, details=details), again=False, elsewhere=False, faulty=False)
    if status in OPERATORS_FAULT:
        problem = Problem(502, f"{name} did not accept this server's key ({status})", details=details, headers=NEVER_RETRY)
        return FailureError(problem, again=False)
    if status == 429:  # noqa: PLR2004
        wait = _seconds(retry_after)
        headers = {"retry-after": str(max(1, round(wait or 1)))}
        return FailureError(Problem(429, said, details=details, headers=headers), again=True, wait=wait)
    return FailureError(Problem(502, f"{name} answered {status}: {refusal.message}", details=details), again=True)


def unreachable(target: Target, error: OSError) -> FailureError:
    """No answer, or half of one."""
    details = {"provider": target.provider.name}
    return FailureError(Problem(502, f"{target.provider.name}: {error}", details=details), again=True)


def timed_out(target: Target, seconds: float) -> FailureError:
    """Not repeated there: the provider may still be working on it, and would be paid twice."""
    message = f"{target.provider.name} did not answer within {seconds:g} s"
    return FailureError(Problem(504, message, details={"provider": target.provider.name}), again=False)


def nonsense(target: Target, error: Exception) -> FailureError:
    """A 2xx that is no answer."""
    details = {"provider": target.provider.name}
    return FailureError(Problem(502, f"{target.provider.name}: {error}", details=details), again=True)


def impossible(error: ValueError) -> FailureError:
    """The request asks for what this provider cannot do."""
    return FailureError(Problem(400, str(error)), again=False, faulty=False)


class Attempts:
    """Runs attempts over targets; holds one breaker per provider."""

    def __init__(self) -> None:
        self.breakers: dict[str, Breaker] = {}

    def configure(self, config: Config) -> None:
        """Take over the failover module's breaker settings, keeping what the circuits know."""
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
        return found

    async def run(
        self, exchange: Exchange, targets: Sequence[Target], config: Config, attempt: Callable[[Target], Awaitable[T]]
    ) -> T:
        """The first success; otherwise the Problem of the last failure."""
        raw_key = bool(exchange.call.principal.secret)
        guarded = config.on("failover") and not raw_key
        retries = config.of("retrypilot")["max_retries"] if config.on("retrypilot") and not raw_key else 0
        problem: Problem | None = None
        for target in targets:
            breaker = self.breaker(target.provider.name) if guarded else None
            exchange.provider, exchange.model = target.provider.name, target.model
            if breaker and not breaker.admits():
                problem = problem or _open(target, breaker)
                continue
            try:
                return await self._persist(exchange, target, config, attempt, breaker, retries)
            except FailureError as failure:
                problem = failure.problem
                if not failure.elsewhere:
                    break
        raise problem or Problem(500, "no target was tried")

    async def _persist(
        self,
        exchange: Exchange,
        target: Target,
        config: Config,
        attempt: Callable[[Target], Awaitable[T]],
        breaker: Breaker | None,
        retries: int,
    ) -> T:
        """Try one target until it answers, refuses for good, or has used up its repetitions."""
        for repetition in range(retries + 1):
            exchange.attempts += 1
            try:
                result = await attempt(target)
            except FailureError as failure:
                _judge(breaker, failure)
                if not failure.again or repetition == retries or (breaker and not breaker.admits()):
                    raise
                await asyncio.sleep(_delay(config.of("retrypilot"), repetition, failure.wait))
            except BaseException:
                if breaker:
                    breaker.released()
                raise
            else:
                if breaker:
                    breaker.succeeded()
                return result
        raise AssertionError("unreachable")


def _judge(breaker: Breaker | None, failure: FailureError) -> None:
    if breaker:
        (breaker.failed if failure.faulty else breaker.succeeded)()


def _delay(settings: Mapping[str, Any], repetition: int, asked: float | None) -> float:
    """Full-jitter backoff; a provider's own `Retry-After` is honoured up to the longest wait."""
    longest = parse_duration(settings["max_delay"])
    if asked is not None:
        return min(asked, longest)
    full = min(longest, parse_duration(settings["base_delay"]) * 2**repetition)
    return random.uniform(0.0, full) if settings["jitter"] else full  # noqa: S311 (spreading load, not secrets)


def _open(target: Target, breaker: Breaker) -> Problem:
    wait = max(1, round(breaker.retry_after()))
    return Problem(
        503,
        f"The circuit of {target.provider.name} is open after repeated failures; it is probed again in {wait}s",
        code="circuit_open",
        details={"provider": target.provider.name},
        headers={"retry-after": str(wait)},
    )


def _seconds(retry_after: str | None) -> float | None:
    try:
        return max(0.0, float(retry_after)) if retry_after else None
    except ValueError:
        return None
