"""The end of one job's log as a worker remembers it for all who follow the job, and how the job stands."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import datetime

from app.services.box_jobs import states
from app.services.box_jobs.frames import Frame

# Who falls further behind reads the table instead.
REMEMBERED_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Stand:
    """How a job stands: one row of a look at it."""

    id: int
    uid: str
    status: str
    at: datetime
    exit_code: int | None
    log_count: int


@dataclass(slots=True)
class Tail:
    """The lines with `start` < row <= `end`. `end` is None before the first look; `stand` is as it was before them."""

    job_id: int
    listeners: int = 0
    stand: Stand | None = None
    start: int = 0
    end: int | None = None
    # How many lines there were at the last look that left none unread.
    count: int = -1
    size: int = 0
    lines: list[Frame] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def see(self, stand: Stand, lines: list[Frame], newest: int | None) -> bool:
        """Take over what a look found; whether there may be more to read at once."""
        if self.end is None:
            self.start = self.end = newest or 0
            self.count = stand.log_count
        changed = self.stand is None or stand.status != self.stand.status or bool(lines)
        if lines:
            self._remember(lines)
        elif newest is None:
            changed = changed or self.count != stand.log_count  # that every line was read is news when the job is over
            self.count = stand.log_count
        self.stand = stand
        if changed:
            self.wake()
        return bool(lines)

    def is_over(self) -> bool:
        """Whether the job is over and every line of it was read."""
        return self.stand is not None and states.is_over(self.stand.status) and self.count == self.stand.log_count

    def after(self, position: int) -> list[Frame] | None:
        """The lines after a position; None when they are not remembered."""
        if position < self.start:
            return None
        return self.lines[bisect_right(self.lines, position, key=lambda line: line.row) :]

    def wake(self) -> None:
        """Tell who waits for news."""
        self.news.set()
        self.news = asyncio.Event()

    def _remember(self, lines: list[Frame]) -> None:
        self.lines += lines
        self.end = lines[-1].row
        self.size += sum(len(line.data) for line in lines)
        gone = 0
        while self.size > REMEMBERED_BYTES and gone < len(self.lines):
            self.size -= len(self.lines[gone].data)
            gone += 1
        if gone:
            self.start = self.lines[gone - 1].row
            del self.lines[:gone]
