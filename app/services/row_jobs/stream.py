"""Live progress: one look at the database for all streams of a worker, whichever worker carries the jobs out."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Engine

from app.problems import Problem
from app.runtime import Runtime
from app.services.draining import Drain
from app.services.row_jobs import stream_leases, watching
from app.services.row_jobs.watching import Watch
from models.base import transaction

log = logging.getLogger("yardmaster.row_jobs")
# Lines are sent within half a second: this, and the time it takes to look.
POLL_S: Final = 0.35
STATUS_S: Final = 2.0
BEAT_S: Final = 15.0
LONGEST_S: Final = 6 * 3600.0
# How often the credential is looked at again.
ADMIT_S: Final = 30.0
RENEW_S: Final = stream_leases.LEASE.total_seconds() / 3
RETRY_MS: Final = 3_000
MOST_STREAMS: Final = 1_000
CODES: Final = {401: "unauthorized", 403: "forbidden", 404: "not_found"}
Admit = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asks for: whose stream of which job, after which line (None: it has seen nothing yet)."""

    user_id: int
    uid: str
    after: int | None
    admit: Admit


class Streams:
    """One worker's streams. A stream is only a position in the log of its job; while there is one, a reader looks."""

    def __init__(self, engine: Engine, most: int = MOST_STREAMS) -> None:
        self._engine = engine
        self._most = most
        self._worker = uuid.uuid4().hex
        self._watched: dict[int, Watch] = {}
        self._reader: asyncio.Task[None] | None = None
        self._drain = Drain(self.close)
        self._closing = False
        self.open_streams = 0

    async def start(self) -> None:
        """Nothing yet: the first stream starts the reader."""

    async def stop(self) -> None:
        """End every stream."""
        self.close()
        self._drain.unwatch()

    def close(self) -> None:
        """Let every stream end by itself, now; clients come back with the id of the last line they saw."""
        self._closing = True
        for watch in self._watched.values():
            watch.tell()

    async def open(self, wanted: Wanted) -> AsyncIterator[bytes]:
        """A stream of a job; Problem 404 for anybody else's, 429 for an eleventh, 503 when the worker has no room."""
        if self._closing:
            raise Problem(503, "The server is stopping", headers={"retry-after": "3"})
        if self.open_streams >= self._most:
            raise Problem(503, f"{self._most} streams are open at this worker already", headers={"retry-after": "30"})
        self._drain.watch()
        self.open_streams += 1
        try:
            seen, lease = await asyncio.to_thread(self._admitted, wanted)
        except BaseException:
            self.open_streams -= 1
            raise
        fresh = seen.last_seq if seen.ended else 0
        return self._events(wanted, seen, lease, fresh if wanted.after is None else min(wanted.after, seen.last_seq))

    def _admitted(self, wanted: Wanted) -> tuple[watching.Seen, str]:
        with transaction(self._engine):
            seen = watching.first(wanted.user_id, wanted.uid)
            return seen, stream_leases.take(wanted.user_id, self._worker)

    async def _events(self, wanted: Wanted, seen: watching.Seen, lease: str, position: int) -> AsyncIterator[bytes]:
        watch = self._watched.setdefault(seen.job_id, Watch(seen))
        watch.listeners += 1
        self._reader = self._reader or asyncio.create_task(self._read())
        try:
            yield b"retry: %d\n\n" % RETRY_MS
            async for data in self._follow(wanted, watch, position):
                yield data
        finally:
            self._leave(watch)
            with suppress(Exception):  # it runs out by itself
                await asyncio.to_thread(self._give_back, lease)

    async def _follow(self, wanted: Wanted, watch: Watch, position: int) -> AsyncIterator[bytes]:
        began = spoke = time.monotonic()
        status_at, last_word = began - STATUS_S, False
        guard = Guard(wanted.admit, began)
        while not self._closing:
            lines, position = await self._lines(watch, position)
            seen, moment = watch.seen, time.monotonic()
            trouble = await guard.trouble(moment)
            if seen is None or trouble:
                yield lines + watching.error(trouble or "not_found")
                return
            if moment - status_at >= STATUS_S or seen.ended > last_word:
                lines, status_at, last_word = seen.status() + lines, moment, seen.ended
            if seen.ended and position >= seen.last_seq:
                yield lines + seen.done()
                return
            if lines or moment - spoke >= BEAT_S:
                spoke = moment
                yield lines or b": ping\n\n"
            if position >= watch.last_seq:
                await watch.wait(max(0.0, status_at + STATUS_S - time.monotonic()))

    async def _lines(self, watch: Watch, position: int) -> tuple[bytes, int]:
        """The next lines as frames, and the position behind them."""
        remembered = watch.after(position)
        if remembered is None:
            try:
                remembered = await asyncio.to_thread(self._stored, watch, position)
            except Exception:  # noqa: BLE001 (the database is away: asked again)
                await asyncio.sleep(POLL_S)
                return b"", position
        return b"".join(data for _, data in remembered), remembered[-1][0] if remembered else position

    def _stored(self, watch: Watch, position: int) -> list[watching.Frame]:
        with transaction(self._engine, write=False):
            return watching.lines(watch.job_id, watch.uid, position)

    def _give_back(self, lease: str) -> None:
        with transaction(self._engine):
            stream_leases.give_back(lease)

    def _leave(self, watch: Watch) -> None:
        self.open_streams -= 1
        watch.listeners -= 1
        if not watch.listeners:
            self._watched.pop(watch.job_id, None)
        if not self._watched and self._reader:
            self._reader.cancel()
            self._reader = None

    async def _read(self) -> None:
        trouble, renewed = False, time.monotonic()
        while True:
            await asyncio.sleep(POLL_S)
            due = time.monotonic() - renewed > RENEW_S
            try:
                await self._look(renew=due)
            except Exception as error:  # noqa: BLE001 (a database away for a moment must not end the streams)
                if not trouble:
                    log.warning("streams of jobs cannot read: %s", type(error).__name__)
                trouble = True
            else:
                trouble, renewed = False, time.monotonic() if due else renewed

    async def _look(self, *, renew: bool) -> None:
        """One look for all streams; those whose job has news are woken."""
        known = {job_id: watch.last_seq for job_id, watch in self._watched.items()}
        news = await asyncio.to_thread(self._news, known, renew)
        for job_id in known.keys() & self._watched.keys():
            self._watched[job_id].learn(news.get(job_id))

    def _news(self, known: dict[int, int], renew: bool) -> dict[int, watching.News]:
        if renew:
            with transaction(self._engine):
                stream_leases.renew(self._worker)
        with transaction(self._engine, write=False):
            return watching.news(known)


class Guard:
    """Whether a stream may go on: asked again and again, for a session may end before the job does."""

    def __init__(self, admit: Admit, began: float) -> None:
        self._admit = admit
        self._began = self._asked = began

    async def trouble(self, moment: float) -> str:
        """The code of what ends the stream; empty while nothing does, or while nobody can tell."""
        if moment - self._began > LONGEST_S:
            return "stream_timeout"
        if moment - self._asked <= ADMIT_S:
            return ""
        self._asked = moment
        try:
            await self._admit()
        except Problem as problem:
            return CODES.get(problem.status, "")
        except Exception:  # noqa: BLE001 (the database is away: asked again later)
            return ""
        return ""


def streams_of(runtime: Runtime) -> Streams:
    """The worker's streams, made for the first client; they stop with the worker's other services."""
    for service in runtime.services:
        if isinstance(service, Streams):
            return service
    made = Streams(runtime.engine)
    runtime.services.append(made)
    return made
