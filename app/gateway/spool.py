"""The spool: finished calls go to a file before they are answered, and from memory to the database soon after."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from app.services.trace_record import TraceRecord

log = logging.getLogger("yardmaster.spool")

FLUSH_S = 0.2
BATCH = 1_000
MOST_QUEUED = 20_000
SEGMENT_BYTES = 16 * 1024 * 1024

Store = Callable[[Sequence[TraceRecord]], int]


class Segment:
    """One append-only file, locked for as long as its process lives."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{os.getpid()}-{secrets.token_hex(6)}.spool"
        self.fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self.fd, fcntl.LOCK_EX)
        self.size = 0
        self.appended = 0
        self.stored = 0
        self.sealed = False

    def append(self, line: bytes) -> None:
        """One line, in the file when this returns; OSError when the disk refuses it."""
        written = os.write(self.fd, line)
        if written != len(line):
            raise OSError("the disk took only a part of the line")
        self.size += written
        self.appended += 1

    def remove(self) -> None:
        """The database has it all."""
        self.path.unlink(missing_ok=True)
        os.close(self.fd)


class Spool:
    """Takes records from the event loop and stores them from a thread of its own, each exactly once.

    Whatever is appended survives `kill -9`: the next start finds the file unlocked and stores it. `store` must be
    idempotent by trace id. A database or disk that fails is reported by `trouble`, and never stops a call.
    """

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder = folder
        self._store = store
        self._queue: deque[tuple[Segment | None, TraceRecord]] = deque()
        self._segments: list[Segment] = []
        self._current: Segment | None = None
        self._overflowed = False
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.disk_error = ""
        self.store_error = ""
        self.unspooled = 0

    async def start(self) -> None:
        """Begin a segment, and store what earlier processes left behind."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._thread = threading.Thread(target=self._work, name="spool", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Store everything; what cannot be stored stays in its file for the next start."""
        self._stopping = True
        self._wake.set()
        if self._thread:
            await asyncio.to_thread(self._thread.join)

    @property
    def trouble(self) -> str:
        """Why records are not reaching disk or database now; empty when they are."""
        return self.disk_error or self.store_error

    @property
    def waiting(self) -> int:
        """Records not in the database yet."""
        return len(self._queue)

    def append(self, record: TraceRecord) -> None:
        """Take a finished call: on disk when this returns, in the database within a quarter of a second."""
        segment = self._spooled(record)
        if len(self._queue) < MOST_QUEUED:
            self._queue.append((segment, record))
        elif segment is not None:
            self._overflowed = True  # the file has it; it is read back once the database answers again
        else:
            log.error("a trace was lost: neither the disk nor the database takes it")
        if len(self._queue) >= BATCH:
            self._wake.set()

    def _spooled(self, record: TraceRecord) -> Segment | None:
        try:
            segment = self._segment()
            segment.append(record.to_line())
        except OSError as error:
            self.disk_error = f"the spool cannot be written ({error.strerror or error})"
            self.unspooled += 1
            return None
        self.disk_error = ""
        return segment

    def _segment(self) -> Segment:
        if self._current is None or self._current.size >= SEGMENT_BYTES:
            fresh = Segment(self._folder)
            if self._current is not None:
                self._current.sealed = True
            self._segments.append(fresh)
            self._current = fresh
        return self._current

    def _work(self) -> None:
        self._recover()
        while not self._stopping:
            self._wake.wait(FLUSH_S)
            self._wake.clear()
            self._flush()
        self._flush()
        self._close()

    def _flush(self) -> None:
        while self._queue:
            batch = [self._queue[i] for i in range(min(BATCH, len(self._queue)))]
            if not self._stored([record for _, record in batch]):
                return
            for segment, _ in batch:
                self._queue.popleft()
                if segment is not None:
                    segment.stored += 1
        if self._overflowed:
            self._overflowed = False
            self._reread()
        self._sweep()

    def _stored(self, records: Sequence[TraceRecord]) -> bool:
        try:
            self._store(records)
        except Exception as error:  # noqa: BLE001 (whatever the database says, the records must be kept)
            if not self.store_error:
                log.warning("traces wait on disk: the database does not take them (%s)", type(error).__name__)
            self.store_error = f"the database does not take traces ({type(error).__name__})"
            return False
        if self.store_error:
            log.warning("the database takes traces again")
        self.store_error = ""
        return True

    def _reread(self) -> None:
        """Store what was spooled while the queue was full, from the files; what was stored already is skipped."""
        for segment in list(self._segments):
            if segment.stored < segment.appended and self._replay(segment.path):
                segment.stored = segment.appended

    def _sweep(self) -> None:
        """Remove sealed segments the database has whole."""
        for segment in [s for s in self._segments if s.sealed and s.stored >= s.appended]:
            self._segments.remove(segment)
            segment.remove()

    def _close(self) -> None:
        for segment in self._segments:
            if segment.stored >= segment.appended:
                segment.remove()
            else:
                os.close(segment.fd)

    def _recover(self) -> None:
        """Store what processes that ended without stopping left behind; a lock tells who is still alive."""
        for path in sorted(self._folder.glob("*.spool")):
            with suppress(OSError):
                fd = os.open(path, os.O_RDONLY)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if self._replay(path):
                        path.unlink(missing_ok=True)
                finally:
                    os.close(fd)

    def _replay(self, path: Path) -> bool:
        records = read_segment(path)
        while batch := list(islice(records, BATCH)):
            if not self._stored(batch):
                return False
        return True


def read_segment(path: Path) -> Iterator[TraceRecord]:
    """The records of a segment; a line torn by a crash was never answered, and is skipped."""
    with path.open("rb") as file:
        for line in file:
            try:
                yield TraceRecord.from_line(line)
            except ValueError:
                log.warning("skipped a torn line in %s", path.name)
