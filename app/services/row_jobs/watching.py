"""What a stream shows of a job: its state, its log lines, and its end, as frames of server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import orjson
from sqlalchemy import select

from app.problems import not_found
from app.services.row_jobs import logs
from models.base import session
from models.row_jobs import OPEN, RowJob, RowJobLog
from models.views.row_jobs import line

Json = dict[str, Any]
Frame = tuple[int, bytes]
# Lines a worker remembers of a job for all its streams together; who falls behind reads the table.
REMEMBERED: Final = 1_000
AT_ONCE: Final = 500
SPOKEN: Final = {
    "unauthorized": "The session has ended",
    "forbidden": "The account may no longer follow jobs",
    "not_found": "The job was deleted",
    "stream_timeout": "The stream was open for six hours",
}


def frame(event: str, data: Json, id_: str = "") -> bytes:
    """One server-sent event."""
    named = b"id: %b\n" % id_.encode() if id_ else b""
    return b"%bevent: %b\ndata: %b\n\n" % (named, event.encode(), orjson.dumps(data))


def error(code: str) -> bytes:
    """The event that ends a stream for another reason than the end of its job."""
    return frame("error", {"code": code, "message": SPOKEN[code]})


@dataclass(frozen=True, slots=True)
class Seen:
    """A job as last looked at, with everything its frames say."""

    job_id: int
    last_seq: int
    ended: bool
    progress: Json
    duration_s: float

    def status(self) -> bytes:
        """How far it is."""
        return frame("status", self.progress)

    def done(self) -> bytes:
        """That it ended, whichever way."""
        told = {name: self.progress[name] for name in ("id", "status", "results_count")}
        id_ = f"{self.progress['id']}:{self.last_seq + 1}"
        return frame("done", told | {"duration_seconds": self.duration_s}, id_)


@dataclass(frozen=True, slots=True)
class News:
    """A job as it is now, and the lines since the last look (of very many, the newest)."""

    seen: Seen
    frames: list[Frame]


def first(owner_id: int, uid: str) -> Seen:
    """A job of the owner as it is; a 404 Problem for anybody else's."""
    job = session().scalar(select(RowJob).where(RowJob.uid == uid, RowJob.owner_id == owner_id))
    if job is None:
        raise not_found("Job")
    return _seen(job)


def _seen(job: RowJob) -> Seen:
    told = {
        "id": job.uid,
        "status": job.status,
        "processed_points": job.processed,
        "grid_points_count": job.units,
        "results_count": job.rows,
        "error_count": job.failed_units,
        "download_available": job.has_result,
        "query_stats": {},
    }
    return Seen(job.id, job.last_seq, job.status not in OPEN, told, job.seconds or 0.0)


def news(known: Mapping[int, int]) -> dict[int, News]:
    """What became of watched jobs since the lines that are known; those that are gone are left out."""
    jobs = session().scalars(select(RowJob).where(RowJob.id.in_(known))).all()
    return {job.id: News(_seen(job), _newest(job, known[job.id])) for job in jobs}


def _newest(job: RowJob, known: int) -> list[Frame]:
    if job.last_seq <= known:
        return []
    recent = logs.after(job.id, max(known, job.last_seq - REMEMBERED))
    rows = session().scalars(recent.where(RowJobLog.seq <= job.last_seq))
    return _frames(job.uid, rows)


def lines(job_id: int, uid: str, position: int) -> list[Frame]:
    """The next stored lines behind a position."""
    return _frames(uid, session().scalars(logs.after(job_id, position).limit(AT_ONCE)))


def _frames(uid: str, rows: Iterable[RowJobLog]) -> list[Frame]:
    return [(row.seq, frame("log", line(row), f"{uid}:{row.seq}")) for row in rows]


class Watch:
    """A job that streams of this worker follow. Its lines with `start` < seq <= `last_seq` are remembered."""

    def __init__(self, seen: Seen) -> None:
        self.job_id = seen.job_id
        self.uid = str(seen.progress["id"])
        self.seen: Seen | None = seen
        self.listeners = 0
        self._start = self.last_seq = seen.last_seq
        self._frames: list[Frame] = []
        self._event = asyncio.Event()

    def learn(self, found: News | None) -> None:
        """Take in what a look found: nothing, when the job is gone."""
        before, self.seen = self.seen, found.seen if found else None
        if found and found.frames:
            if found.frames[0][0] != self.last_seq + 1:
                self._frames = []
            self._frames = [*self._frames, *found.frames][-REMEMBERED:]
            self._start, self.last_seq = self._frames[0][0] - 1, self._frames[-1][0]
        if found is None or found.frames or before is None or found.seen.ended != before.ended:
            self.tell()

    def tell(self) -> None:
        """Wake every stream."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Until there is news, but no longer than so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()

    def after(self, position: int) -> list[Frame] | None:
        """The remembered lines behind a position; None when they must be read from the table."""
        if position >= self.last_seq:
            return []
        if position < self._start:
            return None
        return self._frames[position - self._start :]
