"""Model switch: each call goes to the model an operator's rules choose by its size, its text or its headers."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from operator import eq, ge, gt, le, lt
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.modules.bodies import texts
from app.gateway.patterns import PatternError, linear
from app.gateway.steps import Module, Steps
from app.gateway.usage import estimate_input

Condition = Callable[[Exchange], bool]
COMPARED: Final[Mapping[str, Callable[[Any, Any], bool]]] = {"gt": gt, "gte": ge, "lt": lt, "lte": le, "eq": eq}
FULL: Final = 100


class Modelswitch(Module):
    """The first rule that matches decides; a call that falls outside a rule's share goes on to the next."""

    COUNTS = ("switched", "kept")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Rules with their conditions made ready."""
        rules = [(_condition(rule), rule) for rule in settings["rules"]]
        default: str = settings["default"]

        def request(exchange: Exchange) -> None:
            for holds, rule in rules:
                if holds(exchange) and _falls_within(rule["weight"]):
                    self.counted["switched"] += 1
                    exchange.model = rule["model"]
                    exchange.wanted_provider = exchange.wanted_provider or rule["provider"].lower()
                    exchange.details["modelswitch"] = rule["name"]
                    return
            self.counted["kept"] += 1
            exchange.model = default or exchange.model

        return Steps(request=request)


def _falls_within(weight: int) -> bool:
    return weight >= FULL or random.random() * FULL < weight  # noqa: S311 (a share of traffic, no secret)


def _condition(rule: Mapping[str, Any]) -> Condition:
    """What the rule asks of a call. `header` compares `name: value`; a value that cannot be read never matches."""
    kind, operator, value = rule["condition"], rule["operator"], rule["value"]
    if kind == "always":
        return lambda _: True
    if kind == "token_count":
        return _by_size(operator, value)
    if kind == "header":
        name, _, wanted = value.partition(":")
        agrees = _compare(operator, wanted.strip())
        return lambda x: agrees(x.call.headers.get(name.strip().lower(), ""))
    if kind == "model":
        agrees = _compare(operator, value)
        return lambda x: agrees(x.model)
    agrees = _compare("matches" if kind == "pattern" and operator == "eq" else operator, value, within=True)
    return lambda x: agrees("\n".join(texts(x.body)))


def _by_size(operator: str, value: str) -> Condition:
    compare = COMPARED.get(operator)
    if compare is None or not value.strip().isdigit():
        return lambda _: False
    wanted = int(value)
    return lambda x: compare(estimate_input(x.body), wanted)


def _compare(operator: str, value: str, *, within: bool = False) -> Callable[[str], bool]:
    if operator in {"matches", "not_matches"}:
        try:
            pattern = linear(value)
        except PatternError:
            return lambda _: False
        return lambda text: (pattern.match.search(text) is not None) == (operator == "matches")
    return lambda text: value in text if within else text == value
