"""The live feed: every call recorded by any worker, to every listener, resumable and without a buffer per listener."""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import orjson
from sqlalchemy import Engine, func, select

from app.gateway.money import usd
from app.problems import Problem
from app.runtime import Runtime
from app.services.draining import Drain
from models.base import transaction
from models.traces import Trace

log = logging.getLogger("yardmaster.live")

POLL_S = 0.25
BEAT_S = 15.0
RETRY_MS = 3_000
# What the worker remembers for all its listeners together; who falls behind it reads the table instead.
REMEMBERED = 1_024
PAGE = 500
AT_ONCE = 32
MOST_LISTENERS = 500
CATCHING_UP = 2
US_PER_MS = 1_000
COLUMNS = (
    Trace.seq,
    Trace.id,
    Trace.provider,
    Trace.model,
    Trace.project,
    Trace.status,
    Trace.tokens_in,
    Trace.tokens_out,
    Trace.cost_nano,
    Trace.duration_us,
)
BEAT = b": alive\n\n"
Frame = tuple[int, bytes]


class Feed:
    """One worker's end of the feed: one reader of the traces for all listeners, running while there is one.

    `seq` grows in the order of commits, so reading past the last one seen misses nothing, whichever worker recorded it.
    A listener is only a position: it takes what is remembered after it, or reads the table where memory does not reach,
    so a slow one costs nothing and loses nothing.
    """

    def __init__(self, engine: Engine, most: int = MOST_LISTENERS) -> None:
        self._engine = engine
        self._most = most
        self._memory = Memory()
        self._news = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._catching_up = asyncio.Semaphore(CATCHING_UP)
        self._drain = Drain(self.close)
        self._closing = False
        self.listeners = 0

    async def start(self) -> None:
        """Nothing yet: the first listener starts the reader."""

    async def stop(self) -> None:
        """End every stream with its last event."""
        self.close()
        self._drain.unwatch()

    def close(self) -> None:
        """Let every stream end by itself, now."""
        self._closing = True
        self._wake()

    async def open(self, last_seen: int | None = None) -> AsyncIterator[bytes]:
        """A stream from now, or from after the event last seen; Problem 503 when too many listen to this worker."""
        if self._closing:
            raise Problem(503, "The server is stopping", headers={"retry-after": "3"})
        if self.listeners >= self._most:
            raise Problem(503, f"{self._most} clients listen to this worker already", headers={"retry-after": "30"})
        self._drain.watch()
        known = self._memory.end
        if known is None or (last_seen or 0) > known:
            known = await asyncio.to_thread(self._newest)
        # An id never given out, as after a restored backup, means now: waiting for it would be silence for ever.
        return self._events(known if last_seen is None else min(last_seen, known))

    async def _events(self, position: int) -> AsyncIterator[bytes]:
        self.listeners += 1
        self._reader = self._reader or asyncio.create_task(self._read())
        try:
            yield b": welcome\nretry: %d\n\n%b" % (RETRY_MS, _frame(position, {"type": "connected"}))
            while not self._closing:
                if frames := await self._after(position):
                    position = frames[-1][0]
                    yield b"".join(data for _, data in frames)
                elif not await self._wait():
                    yield BEAT
            yield _frame(position, {"type": "closing"})
        finally:
            self._leave()

    def _leave(self) -> None:
        self.listeners -= 1
        if not self.listeners and self._reader:
            self._reader.cancel()
            self._reader = None
            self._memory = Memory()

    async def _after(self, position: int) -> list[Frame]:
        """The next events; none when there are none, or when the database cannot say just now."""
        remembered = self._memory.after(position)
        if remembered is not None:
            return remembered
        async with self._catching_up:
            with suppress(Exception):
                return await asyncio.to_thread(self._rows, position, AT_ONCE)
        return []

    async def _wait(self) -> bool:
        """Until there is news; False when it is time for a sign of life."""
        with suppress(TimeoutError):
            async with asyncio.timeout(BEAT_S):
                return await self._news.wait()
        return False

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _read(self) -> None:
        trouble = False
        while True:
            try:
                full = await self._look()
            except Exception as error:  # noqa: BLE001 (a database away for a moment must not end the streams)
                if not trouble:
                    log.warning("the live feed cannot read the traces: %s", type(error).__name__)
                full, trouble = False, True
            else:
                trouble = False
            await asyncio.sleep(0 if full else POLL_S)

    async def _look(self) -> bool:
        """Remember what is new and wake the listeners; whether there is more at once."""
        memory = self._memory
        if memory.end is None:
            memory.begin(await asyncio.to_thread(self._newest))
            self._wake()
            return False
        frames = await asyncio.to_thread(self._rows, memory.end, PAGE)
        if frames:
            memory.add(frames)
            self._wake()
        return len(frames) == PAGE

    def _newest(self) -> int:
        with transaction(self._engine, write=False) as opened:
            return opened.scalar(select(func.max(Trace.seq))) or 0

    def _rows(self, position: int, most: int) -> list[Frame]:
        query = select(*COLUMNS).where(Trace.seq > position).order_by(Trace.seq).limit(most)
        with transaction(self._engine, write=False) as opened:
            return [(row[0], _logged(*row)) for row in opened.execute(query)]


class Memory:
    """The newest events of a worker: exactly those with `start` < seq <= `end`. `end` is None before the first look."""

    def __init__(self, size: int = REMEMBERED) -> None:
        self._size = size
        self._seqs: list[int] = []
        self._frames: list[Frame] = []
        self._start = 0
        self.end: int | None = None

    def begin(self, position: int) -> None:
        """Remember from here."""
        self._start = self.end = position

    def add(self, frames: list[Frame]) -> None:
        """Remember these, and forget the oldest in bulk."""
        self._frames += frames
        self._seqs += [seq for seq, _ in frames]
        self.end = self._seqs[-1]
        if len(self._seqs) > 2 * self._size:
            self._start = self._seqs[-self._size - 1]
            del self._seqs[: -self._size], self._frames[: -self._size]

    def after(self, position: int) -> list[Frame] | None:
        """The events next after a position, a few at once; None when they are not remembered."""
        if self.end is None or position >= self.end:
            return []
        if position < self._start:
            return None
        at = bisect_right(self._seqs, position)
        return self._frames[at : at + AT_ONCE]


def feed_of(runtime: Runtime) -> Feed:
    """The worker's feed, made for the first listener; it stops with the worker's other services."""
    for service in runtime.services:
        if isinstance(service, Feed):
            return service
    feed = Feed(runtime.engine)
    runtime.services.append(feed)
    return feed


def _frame(seq: int, event: dict[str, Any]) -> bytes:
    return b"id: %d\ndata: %b\n\n" % (seq, orjson.dumps(event))


def _logged(seq: int, id_: str, provider: str, model: str, project: str, status: str, *figures: int | None) -> bytes:
    tokens_in, tokens_out, cost_nano, duration_us = figures
    event = {"type": "request_logged", "id": id_, "provider": provider, "model": model, "project": project}
    measured = {
        "tokens": (tokens_in or 0) + (tokens_out or 0),
        "cost": None if cost_nano is None else usd(cost_nano),
        "latency": (duration_us or 0) // US_PER_MS,
        "cache_hit": status == "cache_hit",
        "status": status,
    }
    return _frame(seq, event | measured)
