"""Local first: a call for a mapped model goes to a server on your own network while that is up, else to the cloud."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from app.gateway import routing
from app.gateway.admission.admission import Admission, Attempt, Go
from app.gateway.config import Account
from app.gateway.exchange import Exchange
from app.gateway.failures import FailureError
from app.gateway.modules.catalogue import parse_duration
from app.gateway.providers import PROVIDERS
from app.gateway.steps import Module, Steps
from app.gateway.wire import Json, Target
from app.problems import Problem
from app.services.probes import ACTIVE, probe

if TYPE_CHECKING:
    from app.gateway.config import Config

T = TypeVar("T")


class Localsync(Module):
    """Whether the local server is up is looked at beside the calls: none of them waits for one that is not."""

    COUNTS = ("tried", "fell_through")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._account: Account | None = None
        self._every, self._due = 0.0, 0.0
        self._looking: asyncio.Task[None] | None = None
        self.up = False

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """The models with what stands in for them; an address that is new is down until somebody looked."""
        provider = replace(PROVIDERS[settings["server"]], timeout=parse_duration(settings["timeout"]))
        account = Account(provider, settings["endpoint"].rstrip("/"))
        self.up = self.up and account == self._account
        self._account, self._every, self._due = account, parse_duration(settings["check_interval"]), 0.0
        here = Here(module=self)
        models = {
            model: Target(provider, account.base_url, local, admission=here)
            for model, local in settings["models"].items()
        }

        def request(exchange: Exchange) -> None:
            if not self.up or exchange.route or exchange.wanted_provider or exchange.call.principal.secret:
                return
            if (target := models.get(exchange.model)) is not None:
                exchange.route = partial(_first, exchange.model, target)

        return Steps(request=request) if settings["endpoint"] else Steps()

    def tend(self) -> None:
        """Look whether the server is up, when it is time."""
        idle = self._looking is None or self._looking.done()
        if self._account and idle and self._clock() >= self._due:
            self._due = self._clock() + self._every
            self._looking = asyncio.get_running_loop().create_task(self._look(self._account))

    async def _look(self, account: Account) -> None:
        verdict = await asyncio.to_thread(probe, account)
        if account is self._account:  # the settings may have changed meanwhile
            self.up = verdict.status == ACTIVE

    def stats(self) -> Json:
        """Whether the server is up as far as this worker knows, and what became of calls."""
        return {"up": self.up, **self.counted}


def _first(
    model: str, local: Target, exchange: Exchange, config: Config, personal: Mapping[str, Account]
) -> list[Target]:
    """The local server, then wherever the call could go without it; a call beside this one has a model of its own."""
    if exchange.model != model:
        return routing.targets(exchange, config, personal)
    try:
        return [local, *routing.targets(exchange, config, personal)]
    except Problem:  # the cloud is not set up for this model, and need not be
        return [local]


@dataclass(frozen=True, slots=True)
class Here(Admission):
    """One attempt, whose failure is nobody's but the local server's: the call goes on to the cloud."""

    module: Localsync | None = None

    async def through(
        self,
        exchange: Exchange,  # noqa: ARG002 (what every admission is told)
        target: Target,
        attempt: Attempt[T],
        go: Go[T],
    ) -> T:
        """Try once; a server that fails is taken for down until the next look."""
        if self.module is None:
            return await go(target, attempt)
        self.module.counted["tried"] += 1
        try:
            return await go(target, partial(_once, attempt))
        except FailureError as failure:
            self.module.counted["fell_through"] += 1
            self.module.up = self.module.up and not failure.faulty
            failure.elsewhere = True
            raise


async def _once(attempt: Callable[[Target], Awaitable[T]], target: Target) -> T:
    try:
        return await attempt(target)
    except FailureError as failure:
        failure.again = False
        raise
