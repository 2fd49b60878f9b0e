"""Scope guard: what a key, or any key of a user, may do: which calls, which models, at what hours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.modules.conditions import Among, Clock, Times, among, models, times, utc_now
from app.gateway.steps import Module, Steps
from app.problems import Problem

NAME: Final = "scopeguard"


@dataclass(frozen=True, slots=True)
class Scope:
    """One scope; key or user 0 is any."""

    key: int
    user: int
    operations: frozenset[str]
    models: Among
    times: Times

    def concerns(self, exchange: Exchange) -> bool:
        """Whether the call is made with such a key."""
        principal = exchange.call.principal
        return self.key in {0, principal.key_id} and self.user in {0, principal.user_id}


class Scopeguard(Module):
    """A call must be inside every scope that concerns it; of several models asked at once, all of them."""

    COUNTS = ("admitted", "operation", "model", "hours")

    def __init__(self, clock: Clock = utc_now) -> None:
        super().__init__()
        self.clock = clock

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Nothing while there are no scopes."""
        scopes = [_scope(scope) for scope in settings["scopes"]]

        def request(exchange: Exchange) -> None:
            concerned = [scope for scope in scopes if scope.concerns(exchange)]
            for scope in concerned:
                self._check(exchange, scope)
            self.counted["admitted"] += bool(concerned)

        return Steps(request=request if scopes else None)

    def _check(self, exchange: Exchange, scope: Scope) -> None:
        """Problem 403 when the call is outside the scope."""
        if exchange.kind not in scope.operations:
            raise self._outside("operation", f"make {exchange.kind} calls")
        if not all(map(scope.models, models(exchange))):
            raise self._outside("model", f"ask for {exchange.asked[:100]}")
        if not scope.times.hold(self.clock()):
            raise self._outside("hours", "be used at this hour")

    def _outside(self, what: str, deed: str) -> Problem:
        self.counted[what] += 1
        return Problem(403, f"This key may not {deed}", details={"reason": NAME, "scope": what})


def _scope(given: Mapping[str, Any]) -> Scope:
    return Scope(given["key"], given["user"], frozenset(given["operations"]), among(given["models"]), times(given))
