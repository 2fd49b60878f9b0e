"""Data map: which kinds of personal data went to which provider, counted for a record of processing."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from app.gateway.modules.bodies import texts
from app.gateway.modules.kinds import finder, kinds_in
from app.gateway.steps import Module, Place, Steps
from app.services import data_flows
from app.services.data_flows import ANY, OTHERS, Flow

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from app.gateway.exchange import Exchange
    from app.gateway.failures import FailureError
    from app.gateway.wire import Json, Target

log = logging.getLogger("yardmaster.datamap")
NAME: Final = "datamap"
# What a worker holds of prompts that wait to be examined; beyond it calls are passed over, and counted as that.
MOST_BYTES: Final = 32 * 1024 * 1024
MOST_WAITING: Final = 1_000
# Flows found while the database is away; beyond them projects are not told apart.
MOST_FLOWS: Final = 10_000
# Calls are examined together, and written at once, that end within this time.
GATHER_S: Final = 0.2


@dataclass(slots=True)
class Way:
    """Where the texts of one call went, and where they may be going."""

    reached: dict[str, Json] = field(default_factory=dict)
    going: tuple[str, Json] | None = None

    def arrived(self) -> None:
        """What was on its way is there."""
        if self.going:
            self.reached[self.going[0]] = self.going[1]
            self.going = None


@dataclass(frozen=True, slots=True)
class Look:
    """One call to be examined. `invented` is what stands in its texts for what its caller wrote."""

    project: str
    reached: Mapping[str, Json]
    kinds: tuple[str, ...]
    invented: frozenset[str]
    size: int

    def found(self) -> list[Flow]:
        """Its flows, each once; providers mostly got the same body, which is read once."""
        known: dict[int, set[str]] = {}
        for body in self.reached.values():
            if id(body) not in known:
                known[id(body)] = kinds_in(texts(body), self.kinds, self.invented)
        return list(self._flows(known))

    def _flows(self, known: Mapping[int, set[str]]) -> Iterator[Flow]:
        for provider, body in self.reached.items():
            for kind in (ANY, *known[id(body)]):
                yield Flow(kind, provider, self.project)


class Datamap(Module):
    """No call waits for it: texts are read once it is over, in a thread, and only counts are kept."""

    COUNTS = ("examined", "passed_over")

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[Look] = deque()
        self._bytes = 0
        self._found: Counter[Flow] = Counter()
        self._turn: asyncio.Task[None] | None = None

    def settle_in(self, place: Place) -> None:
        """Counts are kept in the database, for all workers."""
        self._engine: Engine = place.engine

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """The body as each provider is sent it, and whether it got there."""
        kinds, rate = tuple(settings["kinds"]), settings["sample_rate"]
        if not kinds or not rate:
            return Steps()
        for kind in kinds:
            finder(kind)

        def fit(exchange: Exchange, body: Json, target: Target) -> Json:
            if share_of(exchange.id) < rate:
                _way(exchange).going = target.provider.name, body
            return body

        def settled(exchange: Exchange) -> None:
            if way := exchange.taken(NAME):
                way.arrived()  # of what was cut off on its way, nobody knows
                self._take(exchange, way, kinds)

        return Steps(fit=fit, heard=_heard, failed=_failed, settled=settled, aside=True)

    def tend(self) -> None:
        """Bring what the database did not take."""
        if (self._waiting or self._found) and self._turn is None:
            self._turn = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """Examine and write what is left."""
        if self._turn:
            await self._turn
        await self._work()

    def stats(self) -> Json:
        """What this worker did, and the map all of them made."""
        told = data_flows.shown(self._engine)
        return super().stats() | told

    def _take(self, exchange: Exchange, way: Way, kinds: tuple[str, ...]) -> None:
        size = len(exchange.call.raw)
        if not way.reached:
            return
        if self._bytes + size > MOST_BYTES or len(self._waiting) >= MOST_WAITING:
            self.counted["passed_over"] += 1
            return
        self._bytes += size
        self._waiting.append(Look(exchange.project, way.reached, kinds, frozenset(exchange.restore or ()), size))
        self.tend()

    async def _work(self) -> None:
        """Until nothing is left, or the database takes nothing."""
        try:
            while self._waiting or self._found:
                await asyncio.sleep(GATHER_S)
                for _ in range(len(self._waiting)):
                    await self._examine(self._waiting.popleft())
                await self._write()
        except Exception as error:  # noqa: BLE001 (a database away for a moment must not end anything)
            log.warning("%d counts of personal data wait: %s", len(self._found), type(error).__name__)
        finally:
            self._turn = None

    async def _examine(self, look: Look) -> None:
        try:
            flows = await asyncio.to_thread(look.found)
        finally:
            self._bytes -= look.size
        self.counted["examined"] += 1
        for flow in flows:
            known = flow in self._found or len(self._found) < MOST_FLOWS
            self._found[flow if known else flow._replace(project=OTHERS)] += 1

    async def _write(self) -> None:
        """Everything found, once; what comes meanwhile is for the next time."""
        found, self._found = self._found, Counter()
        try:
            if found:
                await asyncio.to_thread(data_flows.add, self._engine, found)
        except BaseException:
            self._found.update(found)
            raise


def share_of(trace: str) -> float:
    """Where a call's random number lies between 0 and 1: the same for each of its attempts."""
    return int(trace[-8:], 16) / 2**32


def _way(exchange: Exchange) -> Way:
    way: Way | None = exchange.kept.get(NAME) if exchange.kept else None
    if way is None:
        exchange.keep(NAME, way := Way())
    return way


def _heard(exchange: Exchange, _target: Target, _headers: Mapping[str, str]) -> None:
    """Who answers was asked."""
    if exchange.kept and NAME in exchange.kept:
        _way(exchange).arrived()


def _failed(exchange: Exchange, _target: Target, failure: FailureError) -> None:
    """Whoever may have done the work had the request; otherwise it was never sent."""
    if exchange.kept and NAME in exchange.kept:
        way = _way(exchange)
        if failure.billable:
            way.arrived()
        way.going = None
