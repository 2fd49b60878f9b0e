"""Multicall: several models are asked at once, and one of their answers is returned."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from app.gateway.exchange import Exchange
from app.gateway.modules.catalogue import parse_duration
from app.gateway.steps import Module, Steps
from app.gateway.wire import Json, Kind
from app.problems import Problem

HEADER: Final = "x-multicall-route"
FASTEST: Final = "fastest"
WORD: Final = re.compile(r"\w+")
# Words of an answer that are compared with those of the others.
MOST_WORDS: Final = 2_000
CLIENT_GONE: Final = 499
DEAREST: Final = 2**63


@dataclass(frozen=True, slots=True)
class Route:
    """Which models are asked, for how many seconds, and which answer is returned.

    `available`: when time runs out, the answer that came first is returned rather than none.
    """

    name: str
    models: tuple[str, ...]
    strategy: str
    timeout: float
    available: bool
    counted: Counter[str] = field(repr=False)
    won: Counter[str] = field(repr=False)


@dataclass(slots=True)
class Fan:
    """One call's way to several models, and each arm's: whether it was begun, and why an arm was given up."""

    route: Route
    begun: bool = False
    outrun: bool = False
    late: bool = False

    def mark(self, exchange: Exchange) -> bool:
        """Mark an arm that was given up: one that another was faster than did not fail. False of any other."""
        if self.outrun:
            exchange.status, exchange.http_status, exchange.error = "ok", CLIENT_GONE, "another model answered first"
        elif self.late:
            exchange.status, exchange.http_status = "error", 504
            exchange.error = f"no answer within the {self.route.timeout:g} s of its route"
        return self.outrun or self.late


class Multicall(Module):
    """Routes by the name a header carries; every model asked is a call of its own, traced, priced and capped."""

    COUNTS = ("calls", "arms", "outrun", "late", "failed")

    def __init__(self) -> None:
        super().__init__()
        self._won: Counter[str] = Counter()

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Nothing without a header; 404 for a name that no route has."""
        available = settings["fallback_on_timeout"] == "fastest_available"
        routes = {route["name"]: self._route(route, available=available) for route in settings["routes"]}

        def request(exchange: Exchange) -> None:
            name = exchange.call.headers.get(HEADER)
            if not name or exchange.kind is Kind.EMBEDDINGS:
                return
            route = routes.get(name)
            if route is None or not route.models:
                raise Problem(404, "There is no multicall route of that name", details={"param": "X-MultiCall-Route"})
            exchange.fan = Fan(route)

        return Steps(request=request if routes else None)

    def stats(self) -> Json:
        """Calls, the models asked for them, those given up or failed, and how often each one's answer was returned."""
        return {**super().stats(), "won": dict(self._won)}

    def _route(self, route: Mapping[str, Any], *, available: bool) -> Route:
        return Route(
            name=route["name"],
            models=tuple(dict.fromkeys(route["models"])),
            strategy=route["strategy"],
            timeout=parse_duration(route["timeout"]),
            available=available,
            counted=self.counted,
            won=self._won,
        )


def text_of(exchange: Exchange) -> str:
    """What an answer says; what it calls, of one that says nothing."""
    choices = (exchange.said or {}).get("choices") or [{}]
    message = choices[0].get("message") or {}
    text = message.get("content") or choices[0].get("text") or ""
    if isinstance(text, list):
        text = "".join(str(part.get("text", "")) for part in text if isinstance(part, dict))
    calls = message.get("tool_calls")
    return str(text) or (orjson.dumps(calls).decode() if calls else "")


def agreed(texts: Sequence[str]) -> int:
    """The place of the text most others agree with: word for word where two do, else by the words they share."""
    words = [WORD.findall(text.casefold())[:MOST_WORDS] for text in texts]
    most, times = Counter(map(tuple, words)).most_common(1)[0]
    if times > 1:
        return [tuple(one) for one in words].index(most)
    sets = [frozenset(one) for one in words]
    shared = [sum(likeness(one, other) for other in sets) for one in sets]
    return shared.index(max(shared))


def likeness(one: frozenset[str], other: frozenset[str]) -> float:
    """The share of their words that two texts have in common."""
    return len(one & other) / (len(one | other) or 1)


def _cost(exchange: Exchange) -> int:
    """Nano-dollars; a cost that is not known is more than any that is."""
    return DEAREST if exchange.cost_nano is None else exchange.cost_nano


# Of answers in the order of their route's models, the one that is returned.
CHOICES: Final[Mapping[str, Callable[[Sequence[Exchange]], Exchange]]] = {
    "cheapest": lambda arms: min(arms, key=_cost),
    "longest": lambda arms: max(arms, key=lambda arm: len(text_of(arm))),
    "shortest": lambda arms: min(arms, key=lambda arm: len(text_of(arm))),
    "consensus": lambda arms: arms[agreed([text_of(arm) for arm in arms])],
}
