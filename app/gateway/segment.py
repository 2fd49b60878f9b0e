"""One segment of the spool: a locked file that is written as memory, for a system call would cost more than the line.

What was copied into a shared mapping is the kernel's, as what was written is: it outlives the process. Room is reserved
in blocks of zeros before it is mapped, so that a full disk is an OSError here and never a signal later.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from app.services.recorder import SUFFIX

BLOCK_BYTES: Final = 128 * 1024
NEWLINE: Final = 10


class Segment:
    """A new file, locked before the recorder can see it; OSError when the disk refuses."""

    def __init__(self, folder: Path) -> None:
        draft = folder / f".{os.getpid()}-{secrets.token_hex(6)}"
        self._fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        draft.rename(draft.with_name(draft.name[1:] + SUFFIX))
        self._window: mmap.mmap | None = None
        self._from = self._at = self._room = 0

    @property
    def size(self) -> int:
        """Bytes of lines in it."""
        return self._from + self._at

    @property
    def removed(self) -> bool:
        """Whether somebody took its name away: what is written into it now is lost."""
        return not os.fstat(self._fd).st_nlink

    def write(self, line: bytes) -> None:
        """Append a line. Its newline comes last: a line that has one is whole. OSError when there is no room for it."""
        at, last = self._at, self._at + len(line) - 1
        if last >= self._room or self._window is None:
            self._widen(len(line))
            at, last = self._at, self._at + len(line) - 1
        self._window[at:last] = line[:-1]  # type: ignore[index]
        self._window[last] = NEWLINE  # type: ignore[index]
        self._at = last + 1

    def _widen(self, need: int) -> None:
        """Map the page that is written now and as many after it as the line needs, at least a block."""
        size = self.size
        start = size - size % mmap.ALLOCATIONGRANULARITY
        room = -(-(size - start + need) // BLOCK_BYTES) * BLOCK_BYTES
        _reserve(self._fd, self._from + self._room, start + room)
        window = mmap.mmap(self._fd, room, offset=start)
        if self._window is not None:
            self._window.close()
        self._window, self._from, self._at, self._room = window, start, size - start, room

    def close(self) -> None:
        """Give back the room that was not needed, and let go: the lock that falls tells that it is complete.

        Zeros that the disk does not take back do no harm; a lock that stays would keep the recorder waiting.
        """
        if self._window is not None:
            self._window.close()
        with suppress(OSError):
            os.ftruncate(self._fd, self.size)
        os.close(self._fd)


def _reserve(fd: int, begin: int, end: int) -> None:
    """Zeros on the disk; a hole would be found wanting only when it is written, by a signal."""
    while begin < end:
        begin += os.pwrite(fd, bytes(end - begin), begin)
