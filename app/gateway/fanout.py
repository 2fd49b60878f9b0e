"""Fan-out: one request as calls to several models, of which one is answered; the others are ended and settled."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from app.gateway.modules.multicall import CHOICES, FASTEST, Fan, Route
from app.gateway.streams import CLIENT_GONE, gone
from app.problems import Problem
from app.services.trace_record import trace_id
from app.wire.replies import Reply

if TYPE_CHECKING:
    from app.gateway.config import Config
    from app.gateway.exchange import Exchange
    from app.gateway.lane import Gateway

Task = asyncio.Task[Reply]


class FanOut:
    """One request's calls."""

    def __init__(self, gateway: Gateway, exchange: Exchange, fan: Fan, config: Config) -> None:
        self._gateway = gateway
        self._exchange = exchange
        self._config = config
        self._route: Route = fan.route
        fan.begun = True
        self._arms: dict[Task, Exchange] = {}
        self._answered: list[Exchange] = []
        self._replies: dict[str, Reply] = {}
        self._problems: dict[str, Problem] = {}

    async def served(self) -> Reply:
        """The answer chosen; Problem when no model gave one in time. A client that hangs up ends every call."""
        route = self._route
        route.counted["calls"] += 1
        route.counted["arms"] += len(route.models)
        if (user := self._exchange.call.principal.user_id) is not None:
            await self._gateway.personal.of(user)  # read once, so that no arm has a start over the others
        call = replace(self._exchange.call, receive=None)  # one look-out is kept for all arms, here
        for model in route.models:
            arm = self._arm(replace(self._exchange, call=call), model)
            self._arms[asyncio.create_task(self._made(arm))] = arm
        winner: Exchange | None = None
        with self._gateway.lookout.watch(self._exchange.call) as hang_up:
            try:
                winner = await self._chosen()
                return self._reply(winner)
            except asyncio.CancelledError:
                if not hang_up.caught():
                    raise
                return Reply(CLIENT_GONE)
            finally:
                await self._end(winner)

    def _arm(self, exchange: Exchange, model: str) -> Exchange:
        """The call to one model. What is raced streams; what is compared is needed whole."""
        route = self._route
        exchange.model, exchange.wanted_provider = self._config.meant(model)
        exchange.id, exchange.headers, exchange.fan = trace_id(), list(exchange.headers), Fan(route)
        told = {"route": route.name, "call": self._exchange.id, "models": len(route.models)}
        exchange.details = {**exchange.details, "multicall": told}
        if exchange.stream and route.strategy != FASTEST:
            exchange.stream = False
            exchange.body = {k: v for k, v in exchange.body.items() if k not in {"stream", "stream_options"}}
        return exchange

    async def _made(self, arm: Exchange) -> Reply:
        """One call, from here on as any other; it leaves a trace whatever becomes of it."""
        gateway, config = self._gateway, self._config
        try:
            return await gateway.ask(arm, config)
        except Exception as error:
            gateway.broke(arm, error)
            raise
        except asyncio.CancelledError:
            if not arm.attempts:  # one that was made is settled there
                gateway.fail(arm, gone())
            raise

    async def _chosen(self) -> Exchange:
        """The arm whose answer is returned."""
        deadline = time.monotonic() + self._route.timeout
        waiting = set(self._arms)
        while waiting:
            left = max(0.0, deadline - time.monotonic())
            done, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                return self._out_of_time(waiting)
            self._take(done)
            if self._answered and self._route.strategy == FASTEST:
                return self._answered[0]
        if not self._answered:
            raise self._refusal()
        answered = {arm.id for arm in self._answered}
        return CHOICES[self._route.strategy]([arm for arm in self._arms.values() if arm.id in answered])

    def _take(self, done: set[Task]) -> None:
        """What came, of several at once in the order of the route's models."""
        for task in [task for task in self._arms if task in done]:
            arm = self._arms[task]
            error = task.exception()
            if error is None:
                self._answered.append(arm)
                self._replies[arm.id] = task.result()
                continue
            self._route.counted["failed"] += 1
            if not isinstance(error, Problem):
                raise error
            self._problems[arm.id] = error

    def _out_of_time(self, waiting: set[Task]) -> Exchange:
        for task in waiting:
            self._route.counted["late"] += 1
            _fan_of(self._arms[task]).late = True
        if self._answered and self._route.available:
            return self._answered[0]
        self._name(next(arm for arm in self._arms.values() if _fan_of(arm).late))
        message = f"No answer was chosen within the {self._route.timeout:g} s of the route"
        raise Problem(504, message, details={"reason": "multicall"})

    def _refusal(self) -> Problem:
        """When all failed: what the first model of the route was refused with."""
        arm = next(arm for arm in self._arms.values() if arm.id in self._problems)
        self._name(arm)
        return self._problems[arm.id]

    def _name(self, arm: Exchange) -> None:
        """A refusal leads to the trace of this call: the request has none of its own."""
        told = self._exchange
        told.id, told.provider, told.model, told.attempts = arm.id, arm.provider, arm.model, arm.attempts

    def _reply(self, winner: Exchange) -> Reply:
        """The winner's answer, as the stream that was asked for where it was compared whole."""
        self._route.won[winner.model] += 1
        if self._exchange.stream and not winner.stream and winner.said and winner.usage:
            winner.stream = True
            return self._gateway.reply(winner, winner.said, winner.usage, winner.response or b"")
        return self._replies[winner.id]

    async def _end(self, winner: Exchange | None) -> None:
        """End what goes on without need, and wait until it is settled."""
        for task, arm in self._arms.items():
            fan = _fan_of(arm)
            if winner is not None and arm is not winner and not fan.late:
                fan.outrun = True
            if not task.done():
                self._route.counted["outrun"] += fan.outrun
                task.cancel()
        for done in await asyncio.gather(*self._arms, return_exceptions=True):
            kept = winner is not None and done is self._replies.get(winner.id)
            if isinstance(done, Reply) and not kept and (close := getattr(done.chunks, "aclose", None)):
                await close()


def _fan_of(arm: Exchange) -> Fan:
    assert arm.fan is not None  # noqa: S101 (every arm is made with one)
    return arm.fan
