"""A box's turn: it asks for a job and waits, as one sleeping task and not as a thread, until there is one."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from app.runtime import Runtime
from app.services.box_jobs import claims, states
from app.services.box_jobs.claims import Site
from app.services.box_jobs.watch import Waiter, watch_of
from app.wire.replies import Disconnected, Receive
from models.base import session, transaction
from models.box_jobs import BoxJob
from models.boxes import Box

# Whoever was woken for nothing, as when another box of the group was faster, does not try again at once.
PAUSE_S = 0.25


@dataclass(frozen=True, slots=True)
class Outcome:
    """A job to run, or how the job that was running has ended, or neither."""

    execution: dict[str, Any] | None = None
    over: str = ""

    def __bool__(self) -> bool:
        return self.execution is not None or bool(self.over)


class Turn:
    """One request for a job, of a box that may be at work on another."""

    def __init__(self, held: Runtime, box_uid: str, running: str) -> None:
        self._runtime = held
        self._box_uid = box_uid
        self._running = running

    async def take(self, wait_s: float, receive: Receive | None) -> Outcome:
        """What there is by then; Disconnected when the box hangs up, so that no job is taken for nobody."""
        until = time.monotonic() + wait_s
        box_id, outcome = await asyncio.to_thread(self._try_first)
        if outcome or wait_s <= 0:
            return outcome
        gone = asyncio.ensure_future(_hung_up(receive))
        try:
            with watch_of(self._runtime).waiting(box_id, self._running) as waiter:
                return await self._wait(waiter, gone, until)
        finally:
            gone.cancel()

    async def _wait(self, waiter: Waiter, gone: asyncio.Future[None], until: float) -> Outcome:
        watch = watch_of(self._runtime)
        while not watch.closing and (left := until - time.monotonic()) > 0:
            if await _comes(waiter, gone, left) and (outcome := await asyncio.to_thread(self._try)):
                return outcome
            await asyncio.sleep(min(PAUSE_S, max(0.0, until - time.monotonic())))
        return Outcome()

    def _try_first(self) -> tuple[int, Outcome]:
        with transaction(self._runtime.engine, write=False):
            box_id = claims.box_by_uid(self._box_uid).id
            ready = bool(self._running or claims.claimable([box_id]))
        return box_id, self._try() if ready else Outcome()

    def _try(self) -> Outcome:
        """A box that names a running job waits for its end, and is given no other."""
        return self._over() if self._running else self._claimed()

    def _over(self) -> Outcome:
        mine = select(BoxJob.status).join(Box, Box.id == BoxJob.box_id).where(Box.uid == self._box_uid)
        ended = mine.where(BoxJob.uid == self._running, BoxJob.status.in_(states.TERMINAL))
        with transaction(self._runtime.engine, write=False):
            return Outcome(over=session().scalar(ended) or "")

    def _claimed(self) -> Outcome:
        site = Site(self._runtime.settings.base_url, self._runtime.secrets)
        with transaction(self._runtime.engine):
            job = claims.claim(self._box_uid)
            return Outcome(claims.execution(job, site) if job else None)


async def _comes(waiter: Waiter, gone: asyncio.Future[None], within_s: float) -> bool:
    """Whether there is news in time; Disconnected when the box hangs up first."""
    waiter.news.clear()
    news: asyncio.Future[Any] = asyncio.ensure_future(waiter.news.wait())
    both: set[asyncio.Future[Any]] = {news, gone}
    try:
        await asyncio.wait(both, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        news.cancel()
    if gone.done():
        raise Disconnected
    return news.done()


async def _hung_up(receive: Receive | None) -> None:
    while receive is None or (await receive())["type"] != "http.disconnect":
        if receive is None:
            await asyncio.Event().wait()
