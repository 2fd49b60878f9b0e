"""The spool: a finished call is in a file before its answer ends, so that a crash loses nothing of it."""

from __future__ import annotations

import logging
import time
from collections import deque
from pathlib import Path

from app.gateway.segment import Segment
from app.services.trace_record import TraceRecord

log = logging.getLogger("yardmaster.spool")

SEGMENT_BYTES = 16 * 1024 * 1024
MOST_HELD = 10_000
LOOK_S = 0.1


class Spool:
    """This worker's side: appends, and starts a new segment when one is full. Recording is another's work.

    A disk that refuses lines stops no call: they are held in memory, up to a bound, until it takes them again.
    """

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._segment: Segment | None = None
        self._held: deque[bytes] = deque()
        self._recent: list[bytes] = []
        self._look_at = 0.0
        self.disk_error = ""
        self.lost = 0

    @property
    def waiting(self) -> int:
        """Lines the disk has not taken yet."""
        return len(self._held)

    def open(self) -> None:
        """Make the folder and the first segment; OSError when the disk refuses."""
        self._segment = self._fresh()

    def close(self) -> None:
        """Write what is held and let the segment go: its lock tells the recorder that it is complete."""
        self.retry()
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def append(self, record: TraceRecord) -> None:
        """Take a finished call: it is in the file when this returns, unless the disk is in trouble."""
        line = record.to_line()
        if self._held or time.monotonic() >= self._look_at:
            self.retry()
        try:
            self._write(line)
        except OSError as error:
            self._hold(line, error)

    def _write(self, line: bytes) -> None:
        segment = self._segment
        if segment is None or segment.size >= self._segment_bytes:
            fresh = self._fresh()
            if segment is not None:
                segment.close()
            segment = self._segment = fresh
        segment.write(line)
        self._recent.append(line)

    def _look(self) -> None:
        """Notice, ten times a second, that somebody removed the segment: what was written since goes into another.

        Looking at every line would cost more than writing it; the recorder knows the lines that it has seen already.
        """
        now = time.monotonic()
        if self._segment is None or now < self._look_at:
            return
        self._look_at = now + LOOK_S
        if self._segment.removed:
            self._segment.close()
            self._segment = None
            self._held.extend(self._recent)
        self._recent.clear()

    def _fresh(self) -> Segment:
        """The next segment; its folder is made again if somebody removed it."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Segment(self._folder)

    def _hold(self, line: bytes, error: OSError) -> None:
        self._complain(error)
        if len(self._held) >= MOST_HELD:
            self._held.popleft()
            self.lost += 1
            if self.lost == 1:
                log.error("more than %d traces wait for the disk; the oldest are lost from here on", MOST_HELD)
        self._held.append(line)

    def _complain(self, error: OSError) -> None:
        if not self.disk_error:
            log.error(
                "the spool cannot be written (%s); calls go on, their traces wait in memory", error.strerror or error
            )
        self.disk_error = f"the spool cannot be written ({error.strerror or error})"

    def retry(self) -> None:
        """Write what is held, as far as the disk takes it."""
        self._look()
        if not self._held:
            return
        try:
            while self._held:
                self._write(self._held[0])
                self._held.popleft()
        except OSError as error:
            self._complain(error)
            return
        if self.disk_error:
            log.warning("the spool can be written again")
            self.disk_error = ""
