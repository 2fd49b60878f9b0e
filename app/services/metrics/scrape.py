"""The answer to a scrape: what all workers counted, and how things stand at this moment."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import orjson
from sqlalchemy import Engine, func, select

from app.gateway.money import NANO
from app.observe.exposition import COUNTER, GAUGE, HISTOGRAM, Family
from app.observe.meter import MOST_SERIES, OTHER, Series
from app.services import system
from app.services.metrics.shared import FOLDER, Counted, Shared, folded
from app.services.recorder import SPOOL, read_status
from models.base import transaction
from models.engine import EngineTask

if TYPE_CHECKING:
    from app.gateway.lane import Gateway
    from app.runtime import Runtime

log = logging.getLogger("yardmaster.metrics")
Json = dict[str, Any]
Values = dict[tuple[str, ...], float | list[int]]
EVERY_S: Final = 1.0
STATES: Final = ("queued", "running")
CIRCUITS: Final = ("closed", "open", "half_open")
CALL: Final = ("provider", "model", "operation", "status")
# What a call's list holds, by position: the family's name, what it tells, and what one of it is divided by.
CALL_SUMS: Final = (
    (0, "gateway_calls", "Model calls, by their outcome.", 1),
    (1, "gateway_input_tokens", "Tokens sent to models, those from their caches included.", 1),
    (2, "gateway_output_tokens", "Tokens models answered, reasoning included.", 1),
    (3, "gateway_cached_input_tokens", "Input tokens that a provider had in its cache.", 1),
    (4, "gateway_cost_dollars", "What calls of a known price cost, in US dollars.", NANO),
    (5, "gateway_unpriced_calls", "Calls whose price is not known.", 1),
    (6, "gateway_attempts", "Requests to providers, repeated ones included.", 1),
    (7, "gateway_saved_dollars", "What answers from the cache would have cost, in US dollars.", NANO),
)
PREFIX: Final = "yardmaster_"


class Metrics:
    """A worker's part in the metrics: tells the others every second, and answers for all when it is asked."""

    def __init__(self, held: Runtime) -> None:
        self._runtime = held
        self._shared = Shared(held.settings.data / FOLDER)
        self._stopping = asyncio.Event()
        self._telling = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin telling; a disk that takes nothing keeps no worker from its work."""
        try:
            await asyncio.to_thread(self._shared.open)
        except OSError as error:
            log.warning("the metrics of this worker are its own alone: %s", error.strerror or error)
        self._task = asyncio.create_task(self._keep_telling())

    async def stop(self) -> None:
        """Leave what was counted to those who stay."""
        self._stopping.set()
        if self._task:
            await self._task
        with suppress(OSError):
            await asyncio.to_thread(self._shared.close, self._told())

    async def _keep_telling(self) -> None:
        while not self._stopping.is_set():
            await self._tell()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), EVERY_S)

    async def _tell(self) -> None:
        """One at a time: what was counted first is written first."""
        async with self._telling:
            await asyncio.to_thread(self._shared.tell, self._told())

    def _told(self) -> Json:
        """This worker's counters, and how its own parts stand."""
        gateway: Gateway = self._runtime.gateway
        series = {**self._runtime.meter.series(), **gateway.tally.meter.series()}
        counted: Counted = {name: _plain(found) for name, found in series.items()}
        counted["worker"] = {"[]": _own_counts(gateway)}
        counted["cache"] = _cache_counts(gateway)
        entries, size = gateway.answers.memory.size
        circuits = {name: breaker.state for name, breaker in list(gateway.attempts.breakers.items())}
        told = {"waiting": gateway.spool.waiting, "cache_entries": entries, "cache_bytes": size, "circuits": circuits}
        told |= {f"embed_{name}": number for name, number in gateway.modules.stats("embedcache").items()}
        return {"counted": counted, "pid": os.getpid(), **told}

    async def all_told(self) -> tuple[Counted, list[Json]]:
        """What all who lived and live counted, and what each living worker told of itself, this one just now."""
        await self._tell()
        return await asyncio.to_thread(self._gathered, self._told())

    async def families(self) -> list[Family]:
        """Everything there is to tell. A worker tells before it adds up, so that no later sum is below this one."""
        counted, living = await self.all_told()
        tasks = await asyncio.to_thread(_tasks, self._runtime.engine)
        backlog = read_status(self._runtime.settings.data / SPOOL).backlog_bytes
        return [*_counters(counted), *_gauges(living), _value("spool_backlog_bytes", BACKLOG, backlog), *tasks]

    def _gathered(self, own: Json) -> tuple[Counted, list[Json]]:
        """Of all workers, or of this one alone where the files cannot be read."""
        try:
            return self._shared.gather()
        except OSError as error:
            log.warning("other workers' metrics cannot be read: %s", error.strerror or error)
            return own["counted"], [own]


BACKLOG: Final = "Bytes of finished calls that wait to be recorded in the database."


def _own_counts(gateway: Gateway) -> list[int]:
    counts, shield = gateway.answers.counts, gateway.shield
    evicted = gateway.answers.memory.evicted
    return [counts.hits, counts.misses, evicted, shield.admitted, shield.refused, gateway.spool.lost]


def _cache_counts(gateway: Gateway) -> dict[str, list[int]]:
    """Answers: hits in memory, of what is shared, and by meaning; misses; nano-dollars saved. Embeddings: both."""
    counts, texts = gateway.answers.counts, gateway.modules.stats("embedcache")
    answers = [counts.memory, counts.shared, counts.similar, counts.misses, counts.saved_nano]
    return {'["answers"]': answers, '["embeddings"]': [texts["hits"], texts["misses"]]}


OWN_COUNTS: Final = (
    ("gateway_cache_hits", "Answers from the gateway's cache."),
    ("gateway_cache_misses", "Calls the gateway's cache had no answer for."),
    ("gateway_cache_evictions", "Answers that made room for others."),
    ("gateway_admitted", "Calls the rate shield let through."),
    ("gateway_refused", "Calls the rate shield refused."),
    ("spool_lost", "Traces that were lost because the disk took none for too long."),
)


def _plain(series: Series) -> dict[str, list[int]]:
    return {orjson.dumps(key).decode(): list(values) for key, values in list(series.items())}


def _counters(counted: Counted) -> Iterable[Family]:
    requests = counted.get("requests", {})
    yield _sums("http_requests", "Requests, by operation and class of status.", ("operation", "status"), requests)
    took = counted.get("request_durations", {})
    yield _histogram("http_request_duration_seconds", "Time to the end of the answer.", ("operation",), took)
    calls = folded(counted.get("calls", {}), MOST_SERIES, (1,), OTHER)
    for at, name, told, unit in CALL_SUMS:
        yield _sums(name, told, CALL, calls, at, unit)
    labels = ("provider", "operation")
    took, first = counted.get("call_durations", {}), counted.get("first_bytes", {})
    yield _histogram("gateway_call_duration_seconds", "Time a model call took here.", labels, took)
    yield _histogram("gateway_time_to_first_token_seconds", "Time to a stream's first token.", labels, first)
    own = counted.get("worker", {})
    for at, (name, told) in enumerate(OWN_COUNTS):
        yield _sums(name, told, (), own, at)


def _gauges(living: list[Json]) -> Iterable[Family]:
    states = Counter((name, state) for told in living for name, state in told.get("circuits", {}).items())
    names = sorted({name for name, _ in states})
    circuits: Values = {(name, state): states[name, state] for name in names for state in CIRCUITS}
    told = "In how many workers a provider's circuit is in this state."
    yield Family(PREFIX + "gateway_circuits", GAUGE, told, ("provider", "state"), circuits)
    yield _value("workers", "Workers of this data directory.", len(living))
    for name, key, told in SUMMED:
        yield _value(name, told, sum(int(worker.get(key, 0)) for worker in living))
    yield Family(PREFIX + "build_info", GAUGE, "The version that runs.", ("version",), {(system.release(),): 1})


SUMMED: Final = (
    ("spool_waiting", "waiting", "Finished calls that the disk has not taken yet."),
    ("gateway_cache_entries", "cache_entries", "Answers in the gateway's cache, over all workers."),
    ("gateway_cache_bytes", "cache_bytes", "Bytes they take."),
)


def _tasks(engine: Engine) -> list[Family]:
    """How long the engine's queue is, and whether the database answers."""
    counts = select(EngineTask.kind, EngineTask.state, func.count()).where(EngineTask.state.in_(STATES))
    try:
        with transaction(engine, write=False) as opened:
            rows = opened.execute(counts.group_by(EngineTask.kind, EngineTask.state)).all()
    except Exception as error:  # noqa: BLE001 (a scrape tells what it can, and that this failed)
        log.warning("the engine's queue cannot be counted: %s", type(error).__name__)
        return [_value("database_up", UP, 0)]
    found: Values = {(kind, state): int(number) for kind, state, number in rows}
    tasks = Family(PREFIX + "engine_tasks", GAUGE, "Work that waits or is carried out.", ("kind", "state"), found)
    return [_value("database_up", UP, 1), tasks]


UP: Final = "Whether the database answered this scrape."


def _sums(
    name: str, told: str, labels: tuple[str, ...], series: Mapping[str, list[int]], at: int = 0, unit: int = 1
) -> Family:
    values = {_labels(key): held[at] if unit == 1 else held[at] / unit for key, held in series.items()}
    return Family(PREFIX + name, COUNTER, told, labels, values)


def _histogram(name: str, told: str, labels: tuple[str, ...], series: Mapping[str, list[int]]) -> Family:
    return Family(PREFIX + name, HISTOGRAM, told, labels, {_labels(key): held for key, held in series.items()})


def _labels(key: str) -> tuple[str, ...]:
    return tuple(orjson.loads(key))


def _value(name: str, told: str, value: float) -> Family:
    return Family(PREFIX + name, GAUGE, told, (), {(): value})
