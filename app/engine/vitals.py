"""Who is alive on this machine: each worker locks a file, which the kernel lets go when its process ends, however."""

from __future__ import annotations

import fcntl
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

log = logging.getLogger("yardmaster.engine")
FOLDER: Final = "workers"


class Vitals:
    """This worker's file among those of the workers that share a data directory.

    A worker whose file is gone, or in another directory, is judged by its lease alone. So is everybody where the file
    system knows no locks.
    """

    def __init__(self, data: Path, executor: str) -> None:
        self._folder = data / FOLDER
        self._file = self._folder / executor
        self._held: int | None = None

    def show(self) -> None:
        """Lock our file, before others can see it."""
        if self._held is not None:
            return
        draft = self._folder / f".{self._file.name}"
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._held = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.rename(self._file)
        except OSError as error:
            log.warning("a crash of this worker will be noticed by its lease alone (%s)", error.strerror)

    def dead(self) -> list[str]:
        """The executors whose processes have ended without a word; each is named once."""
        with suppress(OSError):
            seen = [file for file in self._folder.iterdir() if file != self._file and file.name[0] != "."]
            return [file.name for file in seen if _is_left(file)]
        return []

    def end(self) -> None:
        """Take our file away."""
        if self._held is not None:
            self._file.unlink(missing_ok=True)
            os.close(self._held)
            self._held = None


def _is_left(file: Path) -> bool:
    """Whether nobody holds the lock; if so, the file is taken away."""
    with suppress(OSError), file.open("rb+") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.unlink()
        return True
    return False
