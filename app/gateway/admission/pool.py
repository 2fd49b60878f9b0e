"""A pool of keys of one provider: which one is next, and which rest because the provider refused them."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from app.gateway.failures import FailureError
from app.problems import Problem

log = logging.getLogger("yardmaster.keypool")
READY, RESTING = "ready", "resting"
LIMITED: Final = 429
# A key that the provider does not accept, or no longer pays for.
UNACCEPTED: Final = frozenset({401, 402, 403})


@dataclass(slots=True, eq=False)
class PooledKey:
    """A key and how it fares. `refused_as` is the status for which it rests until `rests_until`."""

    name: str
    secret: str = field(repr=False)
    weight: int = 1
    turn: int = 0
    calls: int = 0
    refused: int = 0
    under_way: int = 0
    last: float = 0.0
    rests_until: float = 0.0
    refused_as: int = 0


def refused_key(failure: FailureError) -> int:
    """The status by which the provider refused the key, and not the call; 0 when it did not."""
    status = failure.problem.details.get("provider_status", 0)
    return int(status) if status == LIMITED or status in UNACCEPTED else 0


class Pool:
    """The keys of one provider, in one worker."""

    def __init__(self, provider: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._provider, self.clock = provider, clock
        self.keys: tuple[PooledKey, ...] = ()

    def configure(self, keys: Iterable[tuple[str, str, int]], strategy: str, cooldown: float) -> None:
        """Take over names, secrets and weights; a key that stays keeps what is known of it."""
        known = {(key.name, key.secret): key for key in self.keys}
        found = []
        for name, secret, weight in keys:
            key = known.pop((name, secret), None) or PooledKey(name, secret)
            key.weight = weight
            found.append(key)
        self._choose, self._cooldown = CHOICES[strategy], cooldown
        self.keys = tuple(found)

    def take(self, tried: Collection[PooledKey] = ()) -> PooledKey | None:
        """The next key that neither rests nor was tried; None when there is none. Give it back with `leave`."""
        moment = self.clock()
        free = [key for key in self.keys if key.rests_until <= moment and key not in tried]
        if not free:
            return None
        key = self._choose(free)
        key.calls, key.under_way, key.last = key.calls + 1, key.under_way + 1, moment
        return key

    @staticmethod
    def leave(key: PooledKey) -> None:
        """A call with this key is over."""
        key.under_way -= 1

    def rest(self, key: PooledKey, status: int, asked: float | None) -> None:
        """Let a refused key rest: as long as the provider asked for with a 429, else for the cooldown."""
        wait = asked if asked is not None and status == LIMITED else self._cooldown
        key.refused, key.refused_as = key.refused + 1, status
        key.rests_until = max(key.rests_until, self.clock() + wait)
        if status in UNACCEPTED:
            log.warning("%s does not accept the key %r of the pool (%d)", self._provider, key.name, status)

    def exhausted(self) -> FailureError:
        """That no key is free, and when the next one will be: 429 if any only rests for its rate, else 503."""
        free_in = min((key.rests_until for key in self.keys), default=0.0) - self.clock()
        wait = max(1, math.ceil(free_in))
        status = LIMITED if any(key.refused_as == LIMITED for key in self.keys) else 503
        message = f"{self._provider}: every key of its pool rests; the next one is free in {wait}s"
        details = {"provider": self._provider, "reason": "keypool"}
        problem = Problem(status, message, details=details, headers={"retry-after": str(wait)})
        return FailureError(problem, faulty=False, unasked=True)

    def stats(self) -> list[dict[str, Any]]:
        """Each key by its name, never the key itself."""
        moment = self.clock()
        return [self._told(key, moment) for key in self.keys]

    def _told(self, key: PooledKey, moment: float) -> dict[str, Any]:
        resting = key.rests_until > moment
        told = {"name": key.name, "provider": self._provider, "state": RESTING if resting else READY}
        counts = {"calls": key.calls, "refused": key.refused, "under_way": key.under_way}
        rest = {"refused_as": key.refused_as, "retry_after": round(key.rests_until - moment, 1)} if resting else {}
        return told | counts | rest


def _in_turn(free: list[PooledKey]) -> PooledKey:
    """Smooth weighted round-robin: whoever waited longest for its share is next, and none comes in bursts."""
    for key in free:
        key.turn += key.weight
    chosen = max(free, key=lambda key: key.turn)
    chosen.turn -= sum(key.weight for key in free)
    return chosen


def _least_used(free: list[PooledKey]) -> PooledKey:
    """The fewest calls under way for its weight; of several, the one that was not used for longest."""
    return min(free, key=lambda key: (key.under_way / key.weight, key.last))


def _drawn(free: list[PooledKey]) -> PooledKey:
    return random.choices(free, [key.weight for key in free])[0]  # noqa: S311 (a share of traffic, no secret)


CHOICES: Final[Mapping[str, Callable[[list[PooledKey]], PooledKey]]] = {
    "round-robin": _in_turn,
    "least-used": _least_used,
    "random": _drawn,
}
