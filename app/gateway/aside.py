"""What the gateway asks of a model for a call, beside the call itself: held, priced and traced as its caller's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson

from app.gateway.deadline import Deadline
from app.gateway.exchange import Exchange
from app.gateway.modules.bodies import spoken_away
from app.gateway.modules.catalogue import parse_duration
from app.gateway.settle import estimated, failed
from app.gateway.steps import Chain
from app.gateway.wire import Answer, Json, Kind, Target
from app.problems import Problem
from app.security.principals import Principal

if TYPE_CHECKING:
    from app.gateway.attempts import Attempts
    from app.gateway.config import Config

Targets = Callable[[Exchange, "Config"], Awaitable[list[Target]]]
# Who makes copies of calls, and the project they count for.
MIRROR: Final = "mirrortest"
Post = Callable[[Exchange, Target], Awaitable[Answer]]


class Aside:
    """Takes the lane's own steps: the same routes, budgets, retries, circuits and prices hold."""

    def __init__(self, targets: Targets, attempts: Attempts, post: Post, settle: Callable[[Exchange], None]) -> None:
        self._targets, self._attempts, self._post, self._settle = targets, attempts, post, settle
        self.failures = 0

    async def embed(self, exchange: Exchange, text: str, config: Config, settings: Mapping[str, Any]) -> Json | None:
        """The embeddings answer for a text of the call; None when there is none in time."""
        body: Json = {"model": settings["model"], "input": text}
        aside = _beside(exchange, Kind.EMBEDDINGS, body, "semantic cache")
        aside.wanted_provider = settings["provider"].lower()
        answer = await self._asked(aside, config, parse_duration(settings["timeout"]))
        return answer.body if answer else None

    async def say(self, exchange: Exchange, body: Json, config: Config, seconds: float, purpose: str) -> Answer | None:
        """The chat answer to a body of the gateway's own, where the call may go; None when there is none in time."""
        return await self._asked(_beside(exchange, Kind.CHAT, body, purpose), config, seconds)

    async def ask(
        self, exchange: Exchange, body: Json, config: Config, seconds: float, told: Mapping[str, object]
    ) -> Answer:
        """The answer of a step of the call, which is held as the call itself; Problem or TimeoutError without one.

        The model may be an alias; `told` is what its trace says.
        """
        aside = _beside(exchange, Kind.CHAT, body, "")
        aside.model, aside.wanted_provider = config.meant(aside.model)
        aside.details |= told
        if exchange.chain and exchange.chain.binding:
            aside.chain, aside.kept = Chain([*exchange.chain.binding, *exchange.chain.asides]), exchange.kept
        with Deadline(seconds):
            return await self._post_to(await self._held(aside, config), aside, config)

    async def _held(self, aside: Exchange, config: Config) -> list[Target]:
        """Where it may go; what was held until a refusal is let go of."""
        try:
            return await self._targets(aside, config)
        except Problem as problem:
            self._failed(aside, problem)
            raise

    async def copy(self, exchange: Exchange, model: str, chain: Chain, config: Config, seconds: float) -> None:
        """Ask another model what the call asked, as nobody's: the trace has figures, and no word of anybody's.

        `chain` says what money there is for it, and is told how it ended. Nothing happens when there is none.
        """
        body = {name: value for name, value in exchange.body.items() if name not in {"stream", "stream_options"}}
        aside = _beside(exchange, Kind.CHAT, body | {"model": model}, MIRROR)
        aside.call = replace(aside.call, principal=Principal(MIRROR))
        aside.project, aside.tags, aside.context, aside.hidden, aside.chain = MIRROR, {}, None, True, chain
        await self._asked(aside, config, seconds)

    async def _asked(self, aside: Exchange, config: Config, seconds: float) -> Answer | None:
        try:
            with Deadline(seconds):
                return await self._post_to(await self._targets(aside, config), aside, config)
        except (TimeoutError, Problem):  # where nobody was asked, for want of a place or of money, nothing is owed
            return None

    async def _post_to(self, targets: list[Target], aside: Exchange, config: Config) -> Answer:
        """The answer, settled like any other; so is the Problem when there is none."""
        try:
            answer = await self._attempts.run(aside, targets, config, partial(self._post, aside))
        except asyncio.CancelledError:  # it took too long, or its caller left
            aside.usage = estimated(aside, 0) if aside.attempts else None
            self._failed(aside, Problem(504, "there was no answer in time"))
            raise
        except Problem as problem:
            self._failed(aside, problem)
            raise
        aside.usage, aside.response = answer.usage, answer.raw or orjson.dumps(answer.body)
        aside.said = answer.body
        self._over(aside)
        return answer

    def _failed(self, aside: Exchange, problem: Problem) -> None:
        self.failures += aside.kind is Kind.EMBEDDINGS
        failed(aside, problem)
        self._over(aside)

    def _over(self, aside: Exchange) -> None:
        if aside.hidden:
            aside.body, aside.response = spoken_away(aside.body), None
        self._settle(aside)


def _beside(exchange: Exchange, kind: Kind, body: Json, purpose: str) -> Exchange:
    """A call of the same caller and project, that goes nowhere this one may not go."""
    call = replace(exchange.call, body=body, raw=orjson.dumps(body), arguments={})
    aside = Exchange(call, kind, body, asked=body["model"], model=body["model"], route=exchange.route)
    aside.project, aside.tags, aside.context = exchange.project, exchange.tags, exchange.context
    if exchange.chain and exchange.chain.asides:
        aside.chain, aside.restore = Chain(exchange.chain.asides), exchange.restore
    aside.details = {"for": exchange.id, "purpose": purpose}
    return aside
