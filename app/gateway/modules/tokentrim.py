"""Token trim: drops the least useful messages when a conversation no longer fits the model's context window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.modules.windows import window_of
from app.gateway.steps import Module, Steps
from app.gateway.usage import estimate_input

Order = Callable[[Sequence[int], Sequence[Any]], list[int]]
RANKS: Final = {"tool": 0, "assistant": 1, "user": 2}


def _middle_out(places: Sequence[int], _: Sequence[Any]) -> list[int]:
    """From the middle outwards: the question's beginning and its end both tell what it is about."""
    middle = (len(places) - 1) / 2
    return sorted(places, key=lambda place: abs(places.index(place) - middle))


def _by_rank(places: Sequence[int], messages: Sequence[Any]) -> list[int]:
    """Tools' results first, then answers, then questions; the oldest of each first."""
    return sorted(places, key=lambda place: (RANKS.get(messages[place].get("role"), 1), place))


ORDERS: Final[Mapping[str, Order]] = {
    "middle-out": _middle_out,
    "head": lambda places, _: list(places),
    "tail": lambda places, _: list(reversed(places)),
    "priority": _by_rank,
}


class Tokentrim(Module):
    """The last message always stays, and a tool's result goes with the call that asked for it."""

    COUNTS = ("trimmed", "dropped")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """By the window of the model the call goes to."""
        margin, unknown, protected = settings["safety_margin"], settings["unknown_window"], set(settings["protect"])

        def request(exchange: Exchange) -> None:
            messages, window = exchange.body.get("messages"), window_of(exchange.model, unknown)
            if not window or not isinstance(messages, list) or estimate_input(exchange.body) <= window - margin:
                return
            strategy = settings["models"].get(exchange.model, settings["default_strategy"])
            order = ORDERS.get(strategy, _middle_out)
            kept = _trimmed(exchange.body, window - margin, protected, order)
            self.counted["trimmed"] += 1
            self.counted["dropped"] += len(messages) - len(kept)
            exchange.body = {**exchange.body, "messages": kept}
            exchange.details["tokentrim"] = len(messages) - len(kept)

        return Steps(request=request)


def _trimmed(body: Mapping[str, Any], most: int, protected: set[str], order: Order) -> list[Any]:
    messages = body["messages"]
    turns = list(_turns(messages))
    free = [n for n, turn in enumerate(turns[:-1]) if not protected & {_role(messages[at]) for at in turn}]
    dropped: set[int] = set()
    for turn in order(free, [messages[turn[0]] for turn in turns]):
        if estimate_input({**body, "messages": _without(messages, dropped)}) <= most:
            break
        dropped |= set(turns[turn])
    return _without(messages, dropped)


def _without(messages: Sequence[Any], dropped: set[int]) -> list[Any]:
    return [message for at, message in enumerate(messages) if at not in dropped]


def _turns(messages: Sequence[Any]) -> Iterator[list[int]]:
    """Places that go or stay together: a message, or a call for tools with their results."""
    turn: list[int] = []
    for at, message in enumerate(messages):
        if turn and _role(message) != "tool":
            yield turn
            turn = []
        turn.append(at)
    yield turn


def _role(message: Any) -> str:
    return str(message.get("role", "")) if isinstance(message, dict) else ""
