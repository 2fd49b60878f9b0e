"""A job's log as a stream: what is stored, then what comes, then how it ended; resumable after any line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

from app.services.box_jobs import frames, states
from app.services.box_jobs.frames import Frame, Page
from app.services.box_jobs.tail import Stand, Tail
from app.services.box_jobs.watch import Watch

BEAT_S = 20.0
# A stream ends after an hour even if the job goes on: whoever may still follow it connects again and misses nothing.
LONGEST_S = 3600.0
Allowed = Callable[[], Awaitable[bool]]


class Follower:
    """One client's place in one job's log.

    Stored lines come in the box's order. A line that arrives late, after one with a higher number was sent, is sent
    without an id: what a client resumes after never goes back.
    """

    def __init__(self, watch: Watch, job_id: int, after: int, allowed: Allowed) -> None:
        self._watch = watch
        self._job_id = job_id
        self._sequence = self._from = after
        self._row = 0
        self._allowed = allowed
        self._told = ""

    async def events(self) -> AsyncIterator[bytes]:
        """The stream; it ends with the job, with the right to follow it, or with the server."""
        with self._watch.following(self._job_id) as tail:
            yield frames.RETRY
            if (stand := await self._first(tail)) is None:
                return
            async for piece in self._replay(stand, tail.end or 0):
                yield piece
            async for piece in self._live(tail):
                yield piece

    async def _live(self, tail: Tail) -> AsyncIterator[bytes]:
        until = time.monotonic() + LONGEST_S
        while not self._watch.closing and time.monotonic() < until:
            news = tail.news
            if piece := await self._following(tail):
                yield piece
            elif tail.stand and tail.is_over() and self._row >= (tail.end or 0):
                yield self._ended(tail.stand)
                return
            elif self._row >= (tail.end or 0) and not await _comes(news, BEAT_S):
                if not await self._allowed():
                    return
                yield frames.BEAT

    async def _first(self, tail: Tail) -> Stand | None:
        """How the job stands; None when it is gone, or the server stops first."""
        news = tail.news
        if tail.stand is None and not self._watch.closing:
            await _comes(news, BEAT_S)
        self._row = tail.end or 0
        return tail.stand

    async def _replay(self, stand: Stand, up_to: int) -> AsyncIterator[bytes]:
        yield self._status(stand)
        while lines := await self._watch.lines(stand, Page(up_to_row=up_to, after_sequence=self._sequence)):
            self._sequence = lines[-1].sequence
            yield b"".join(line.data for line in lines)

    async def _following(self, tail: Tail) -> bytes:
        """What is new: the state, unless it is an end, and the next lines."""
        stand = tail.stand
        if stand is None:
            return b""
        lines = tail.after(self._row)
        if lines is None:
            lines = await self._watch.lines(stand, Page(after_row=self._row))
        return self._status(stand) + b"".join(self._line(line) for line in lines)

    def _line(self, line: Frame) -> bytes:
        """A line as it is sent to this client; nothing for one it said it has."""
        self._row = line.row
        if line.sequence <= self._from:
            return b""
        if line.sequence < self._sequence:
            return line.data.replace(b"id: %d\n" % line.sequence, b"", 1)
        self._sequence = line.sequence
        return line.data

    def _status(self, stand: Stand) -> bytes:
        """The state, once; an end is told after the last line."""
        if stand.status == self._told or states.is_over(stand.status):
            return b""
        self._told = stand.status
        return frames.status(stand.uid, stand.status, stand.at)

    @staticmethod
    def _ended(stand: Stand) -> bytes:
        return frames.status(stand.uid, stand.status, stand.at) + frames.end(stand.status, stand.exit_code)


async def _comes(news: asyncio.Event, within_s: float) -> bool:
    """Whether there is news in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            return await news.wait()
    return False
