"""The recorder: reads what workers spooled and stores it, each call exactly once, whoever crashed in between."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import orjson

from app.services.trace_record import TraceRecord

log = logging.getLogger("yardmaster.recorder")

SPOOL = "spool"
SUFFIX = ".spool"
STATUS = "recorder.json"
LOCK = "recorder.lock"
POLL_S = 0.1
BEAT_S = 1.0
SILENT_S = 10.0
BATCH = 1_000
MOST_BYTES = 4 * 1024 * 1024

Store = Callable[[Sequence[TraceRecord]], int]


@dataclass(frozen=True, slots=True)
class Status:
    """What the recorder last said of itself; `error` is empty while it stores."""

    pid: int = 0
    at: float = 0.0
    error: str = ""
    stored: int = 0
    backlog_bytes: int = 0

    @property
    def trouble(self) -> str:
        """Why spooled calls are not reaching the database now; empty when they are."""
        silent = time.time() - self.at
        return self.error or (f"no recorder has run for {silent:.0f} s" if self.at and silent > SILENT_S else "")


def read_status(folder: Path) -> Status:
    """The recorder's last word; the default when it never spoke."""
    try:
        return Status(**orjson.loads((folder / STATUS).read_bytes()))
    except (OSError, ValueError, TypeError):
        return Status()


class Recorder:
    """Stores every segment in a folder, oldest first, and removes those that are complete. `store` is idempotent."""

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder = folder
        self._store = store
        self._offsets: dict[Path, int] = {}
        self._stored = 0
        self._error = ""
        self._spoke = 0.0

    def run(self, stop: threading.Event) -> None:
        """Record until told to stop, then once more; only one recorder works in a folder at a time.

        A folder that cannot be used now is tried again: whoever repairs it need not restart anything.
        """
        while True:
            try:
                self._record(stop)
            except OSError as error:
                self._trouble(f"the spool cannot be used ({error.strerror or error})")
            if stop.wait(BEAT_S):
                return

    def _record(self, stop: threading.Event) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(self._folder, stop) as mine:
            if not mine:
                return
            while not stop.wait(POLL_S):
                self.sweep()
            self.sweep()

    def sweep(self) -> None:
        """Store what there is now."""
        try:
            for path in sorted(self._folder.glob(f"*{SUFFIX}"), key=lambda p: p.stat().st_mtime_ns):
                if not self._drain(path):
                    break
        except FileNotFoundError:
            pass  # another recorder, or somebody's hand, was quicker
        except OSError as error:  # a folder that cannot be read now must not end the recorder
            self._trouble(f"the spool cannot be read ({error.strerror or error})")
        self._speak()

    def _drain(self, path: Path) -> bool:
        """Store the rest of one segment; False when the database refuses."""
        with path.open("rb") as file:
            complete = _unlocked(file.fileno())  # asked before reading: what is then read is really the end
            begin = file.seek(self._offsets.get(path, 0))
            for size, lines in _batches(file, _end(file.fileno(), complete=complete) - begin, torn=complete):
                if not self._take([r for line in lines if (r := _parsed(line, path))]):
                    return False
                self._offsets[path] = self._offsets.get(path, 0) + size
            if complete:
                self._offsets.pop(path, None)
                path.unlink(missing_ok=True)
        return True

    def _take(self, records: Sequence[TraceRecord]) -> bool:
        try:
            self._stored += self._store(records) if records else 0
        except Exception as error:  # noqa: BLE001 (whatever the database says, the calls stay spooled)
            self._trouble(f"the database does not take traces ({type(error).__name__})")
            return False
        if self._error:
            log.warning("traces are stored again")
        self._error = ""
        return True

    def _trouble(self, said: str) -> None:
        if not self._error:
            log.warning("calls stay spooled: %s", said)
        self._error = said

    def _speak(self) -> None:
        """Leave word for the workers, once a second; a full disk must not end the recorder."""
        if time.monotonic() - self._spoke < BEAT_S:
            return
        self._spoke = time.monotonic()
        said = Status(os.getpid(), time.time(), self._error, self._stored, self._backlog())
        draft = self._folder / f".{STATUS}.{os.getpid()}"
        with suppress(OSError):
            draft.write_bytes(orjson.dumps(asdict(said)))
            draft.replace(self._folder / STATUS)

    def _backlog(self) -> int:
        with suppress(OSError):
            return sum(_lines_end(p) - self._offsets.get(p, 0) for p in self._folder.glob(f"*{SUFFIX}"))
        return 0


def _lines_end(path: Path) -> int:
    with path.open("rb", buffering=0) as file:
        return _end(file.fileno(), complete=False)


def _end(fd: int, *, complete: bool) -> int:
    """Where the lines of a segment end. The zeros behind them are room of the worker that writes it.

    Found before lines are read, so that none is read which is copied in meanwhile: its newline is written last.
    """
    size = os.fstat(fd).st_size
    return size if complete else bisect_left(range(size), True, key=lambda at: os.pread(fd, 1, at) == b"\0")


def _batches(file: BinaryIO, left: int, *, torn: bool) -> Iterator[tuple[int, list[bytes]]]:
    """Runs of whole lines in the next `left` bytes, with their size.

    A last line without its end counts only when nobody will finish it, and is more than room that was never used.
    """
    lines: list[bytes] = []
    size = 0
    for line in file:
        left -= len(line)
        if left < 0 or not (line.endswith(b"\n") or (torn and line.strip(b"\0"))):
            break
        lines.append(line)
        size += len(line)
        if len(lines) >= BATCH or size >= MOST_BYTES:
            yield size, lines
            lines, size = [], 0
    if lines:
        yield size, lines


def _parsed(line: bytes, path: Path) -> TraceRecord | None:
    try:
        return TraceRecord.from_line(line)
    except ValueError:
        size = len(line.strip(b"\0"))
        log.warning("skipped a torn line of %d bytes in %s: its call was never answered", size, path.name)
        return None


def _unlocked(fd: int) -> bool:
    """Whether the segment's writer is done with it, or dead."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def _alone(folder: Path, stop: threading.Event) -> Iterator[bool]:
    """Hold the folder's recorder lock, waiting for it; False when another still holds it as we are told to stop."""
    fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        mine = _lock(fd)
        while not mine and not stop.wait(POLL_S * 5):
            mine = _lock(fd)
        yield mine or _lock(fd)  # the other may have ended since we last asked, and left us something to store
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


class RecorderThread:
    """A recorder beside a worker's requests: it records when nobody else does, and takes over when they die."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=recorder.run, args=(self._stop,), name="recorder", daemon=True)

    async def start(self) -> None:
        """Begin."""
        self._thread.start()

    async def stop(self) -> None:
        """End, after one more sweep."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join)
