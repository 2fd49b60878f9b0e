"""One worker's eyes on jobs: a single reader of the database for all who follow a log or wait for a job."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.problems import Problem
from app.runtime import Runtime
from app.services.box_jobs import claims, frames, states
from app.services.box_jobs.frames import Frame, Page
from app.services.box_jobs.news import BELL
from app.services.box_jobs.tail import Stand, Tail
from app.services.draining import Drain
from models.base import transaction
from models.box_jobs import BoxJob, BoxJobLog

log = logging.getLogger("yardmaster.box_jobs")
POLL_S = 0.25
MOST_LISTENERS = 1_000
READERS = 2
COLUMNS = (BoxJob.id, BoxJob.uid, BoxJob.status, BoxJob.updated_at, BoxJob.exit_code, BoxJob.log_count)
Look = tuple[Stand, list[Frame], int | None]


@dataclass(slots=True, eq=False)
class Waiter:
    """A box that waits for a job, and for the end of the one it is at, if any."""

    box_id: int
    job_uid: str
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Watch:
    """Looks four times a second while somebody waits, and at once when this worker itself changed something."""

    def __init__(self, engine: Engine, most: int = MOST_LISTENERS) -> None:
        self._engine = engine
        self._most = most
        self._tails: dict[int, Tail] = {}
        self._waiters: set[Waiter] = set()
        self._reader: asyncio.Task[None] | None = None
        self._rung = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reading = asyncio.Semaphore(READERS)
        self._drain = Drain(self.close)
        self.closing = False
        self.listeners = 0

    async def start(self) -> None:
        """Nothing yet: the first who waits starts the reader."""

    async def stop(self) -> None:
        """Let everybody go; a look under way is waited for, so that its connection is given back."""
        self.close()
        self._drain.unwatch()
        if self._reader:
            await self._reader

    def close(self) -> None:
        """End every wait and every stream, now."""
        self.closing = True
        for tail in self._tails.values():
            tail.wake()
        for waiter in self._waiters:
            waiter.news.set()
        self._rung.set()

    @contextmanager
    def following(self, job_id: int) -> Iterator[Tail]:
        """The end of a job's log, kept up to date meanwhile."""
        tail = self._tails.setdefault(job_id, Tail(job_id))
        tail.listeners += 1
        self.listeners += 1
        try:
            self._begin()
            yield tail
        finally:
            self.listeners -= 1
            tail.listeners -= 1
            if not tail.listeners:
                del self._tails[job_id]
            self._leave()

    @contextmanager
    def waiting(self, box_id: int, job_uid: str) -> Iterator[Waiter]:
        """A box that is woken when there may be a job for it, or the job it is at is over."""
        waiter = Waiter(box_id, job_uid)
        self._waiters.add(waiter)
        try:
            self._begin()
            yield waiter
        finally:
            self._waiters.discard(waiter)
            self._leave()

    def admit(self) -> None:
        """Problem 503 when too many follow jobs here, or the server stops."""
        if self.closing:
            raise Problem(503, "The server is stopping", headers={"retry-after": "3"})
        if self.listeners >= self._most:
            raise Problem(503, f"{self._most} clients follow jobs here already", headers={"retry-after": "30"})

    async def lines(self, stand: Stand, page: Page) -> list[Frame]:
        """A page of stored lines; two at a time in this worker, so that those who catch up do not take all threads."""
        async with self._reading:
            return await asyncio.to_thread(self._stored, stand, page)

    def _stored(self, stand: Stand, page: Page) -> list[Frame]:
        with transaction(self._engine, write=False) as opened:
            return frames.read(opened, stand.id, stand.uid, page)

    def _begin(self) -> None:
        self._drain.watch()
        self._rung.set()
        if self._reader is None:
            self._loop = asyncio.get_running_loop()
            self._reader = asyncio.create_task(self._read())

    def _leave(self) -> None:
        if not self._tails and not self._waiters:
            self._rung.set()  # the reader has nobody to read for, and ends

    def _wake(self) -> None:
        loop = self._loop
        if loop and not loop.is_closed():
            with suppress(RuntimeError):  # it was closed this very moment
                loop.call_soon_threadsafe(self._rung.set)

    async def _read(self) -> None:
        BELL.listen(self._wake)
        try:
            trouble = False
            while (self._tails or self._waiters) and not self.closing:
                self._rung.clear()
                more, trouble = await self._looked(in_trouble=trouble)
                if not more:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._rung.wait(), POLL_S)
        finally:
            BELL.forget(self._wake)
            self._reader = None

    async def _looked(self, *, in_trouble: bool) -> tuple[bool, bool]:
        """Whether there is more to read at once, and whether the database is in trouble, which is said once."""
        try:
            return await self._look(), False
        except Exception as error:  # noqa: BLE001 (a database away for a moment must not end the streams)
            if not in_trouble:
                log.warning("jobs on boxes cannot be watched: %s", type(error).__name__)
            return False, True

    async def _look(self) -> bool:
        """Bring tails up to date and wake whom it concerns; whether there is more to read at once."""
        tails, waiters = dict(self._tails), list(self._waiters)
        looks, woken = await asyncio.to_thread(self._see, tails, waiters)
        for waiter in woken:
            waiter.news.set()
        return any([tails[stand.id].see(stand, lines, newest) for stand, lines, newest in looks])  # noqa: C419 (all of them)

    def _see(self, tails: Mapping[int, Tail], waiters: Collection[Waiter]) -> tuple[list[Look], list[Waiter]]:
        with transaction(self._engine, write=False) as opened:
            found = opened.execute(select(*COLUMNS).where(BoxJob.id.in_(tails))).all() if tails else []
            looks = [_look_at(opened, tails[row.id], Stand(*row)) for row in found]
            return looks, _woken(opened, waiters) if waiters else []


def _look_at(opened: Session, tail: Tail, stand: Stand) -> Look:
    """How the job stands and its lines since; its newest line instead when this is the first look."""
    if tail.end is None:
        newest = select(BoxJobLog.id).where(BoxJobLog.job_id == stand.id).order_by(BoxJobLog.id.desc()).limit(1)
        return stand, [], opened.scalar(newest) or 0
    unread = stand.log_count != tail.count
    return stand, frames.read(opened, stand.id, stand.uid, Page(after_row=tail.end)) if unread else [], None


def _woken(opened: Session, waiters: Collection[Waiter]) -> list[Waiter]:
    """Those for whom there may be a job, or whose job is over."""
    ready = claims.claimable({waiter.box_id for waiter in waiters})
    busy = {waiter.job_uid for waiter in waiters} - {""}
    ended = select(BoxJob.uid).where(BoxJob.uid.in_(busy), BoxJob.status.in_(states.TERMINAL))
    over = set(opened.scalars(ended)) if busy else set()
    return [waiter for waiter in waiters if waiter.box_id in ready or waiter.job_uid in over]


def watch_of(runtime: Runtime) -> Watch:
    """The worker's watch, made for the first who waits; it stops with the worker's other services."""
    for service in runtime.services:
        if isinstance(service, Watch):
            return service
    watch = Watch(runtime.engine)
    runtime.services.append(watch)
    return watch
