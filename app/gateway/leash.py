"""How far one call may go: seconds, tokens and money, looked at while it is under way, streams included."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

from app.gateway import settle
from app.gateway.deadline import Deadline
from app.gateway.failures import NEVER_RETRY
from app.gateway.money import cost, usd_text
from app.gateway.providers import provider_for_model
from app.gateway.usage import CHARS_PER_TOKEN, estimate_input, texts
from app.gateway.wire import Json, Usage
from app.problems import Problem
from app.runtime import runtime

if TYPE_CHECKING:
    from app.gateway.exchange import Exchange

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, tokens in and out, and nano-dollars of one call."""

    seconds: float
    tokens: int
    nano: float


class Leash:
    """One call's. Tokens are our estimate: providers count theirs when all is over, and then it is too late."""

    def __init__(self, exchange: Exchange, limits: Limits, stops: Callable[[], None]) -> None:
        self._exchange, self._limits, self._stops = exchange, limits, stops
        self._ends = exchange.began + limits.seconds
        self._input = estimate_input(exchange.body)
        self._chars = 0

    def judge_request(self) -> None:
        """Problem 403 when the request alone is too much: nobody has to be asked to know that."""
        exchange = self._exchange
        self._judge(exchange.wanted_provider or provider_for_model(exchange.model))

    async def hold(self, work: Awaitable[T]) -> T:
        """What the work comes to; Problem 504 when the call's time is over before."""
        if self._ends == math.inf:
            return await work
        deadline = Deadline(max(0.0, self._ends - perf_counter()))
        try:
            with deadline:
                return await work
        except TimeoutError:
            if not deadline.passed:  # it is the connection's
                raise
            self._exchange.usage = settle.estimated(self._exchange, 0) if self._exchange.attempts else None
            self._stops()
            told = f"The call was stopped after {self._limits.seconds:g} s, the longest one may run here"
            raise stopped(504, told, "duration") from None

    def rest(self, seconds: float) -> None:
        """Time in which a person was waited for is not the call's."""
        self._ends += seconds

    def count(self, chunks: Iterable[Json]) -> None:
        """Add what came; Problem 403 when it is too much by now."""
        self._chars += sum(len(text) for chunk in chunks for text in _said(chunk))
        self._judge(self._exchange.provider)

    def _judge(self, provider: str) -> None:
        limits, out = self._limits, -(-self._chars // CHARS_PER_TOKEN)
        if self._input + out > limits.tokens:
            self._stops()
            told = f"The call came to about {self._input + out} tokens; {limits.tokens} are the most"
            raise stopped(403, told, "tokens")
        price = runtime().gateway.prices.find(provider, self._exchange.model)
        if price and (spent := cost(Usage(input=self._input, output=out), price)) > limits.nano:
            self._stops()
            told = f"The call came to about {usd_text(spent)} USD; {usd_text(int(limits.nano))} are the most"
            raise stopped(403, told, "cost")


def _said(chunk: Json) -> Iterable[str]:
    for choice in chunk.get("choices", ()):
        yield from texts(choice.get("delta", choice))


def stopped(status: int, message: str, limit: str) -> Problem:
    """The refusal of a call that went too far; `limit` names how."""
    return Problem(status, message, details={"reason": "idlekill", "limit": limit}, headers=NEVER_RETRY)
