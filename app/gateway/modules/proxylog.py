"""Proxy log: one line for each call, in a file or on the standard output."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from app.gateway import settle
from app.gateway.exchange import Exchange
from app.gateway.modules.loglines import FORMS
from app.gateway.steps import Module, Place, Steps

log = logging.getLogger("yardmaster.proxylog")
FILE: Final = "proxy.log"
MEGABYTE: Final = 1024 * 1024
MOST_WAITING: Final = 10_000
MOST_BODY: Final = 100_000
# Lines are written together that come within this time.
GATHER_S: Final = 0.1


class Proxylog(Module):
    """No call waits for its line; what the disk refuses is lost, and counted."""

    COUNTS = ("written", "lost")

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[str] = deque()
        self._turn: asyncio.Task[None] | None = None
        self._sink: Callable[[str], None] = standard_output

    def settle_in(self, place: Place) -> None:
        """Files lie in the data directory; what is sealed elsewhere is sealed in them, too."""
        self._file, self._closed = place.data / FILE, place.closed

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """When a call is over, and its cost is known."""
        form, most = FORMS[settings["format"]], MOST_BODY if settings["bodies"] else 0
        file, size = self._file, settings["max_mb"] * MEGABYTE
        self._sink = standard_output if settings["target"] == "stdout" else lambda lines: append(file, lines, size)

        def settled(exchange: Exchange) -> None:
            self._take(form(exchange, self._closed(settle.record(exchange, most, redacted=True))))

        return Steps(settled=settled)

    async def stop(self) -> None:
        """Write the rest."""
        if self._turn is not None:
            await asyncio.shield(self._turn)

    def _take(self, line: str) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self.counted["lost"] += 1
            return
        self._waiting.append(line)
        if self._turn is None:
            self._turn = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(GATHER_S)
                lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
                await self._put(lines)
        finally:
            self._turn = None

    async def _put(self, lines: list[str]) -> None:
        try:
            await asyncio.to_thread(self._sink, "".join(f"{line}\n" for line in lines))
        except (OSError, ValueError) as error:  # ValueError: the standard output is closed
            log.warning("%d lines of calls cannot be written: %s", len(lines), type(error).__name__)
            self.counted["lost"] += len(lines)
        else:
            self.counted["written"] += len(lines)


def standard_output(lines: str) -> None:
    """Write to the standard output; OSError or ValueError when it is gone."""
    sys.stdout.write(lines)
    sys.stdout.flush()


def append(file: Path, lines: str, most: int) -> None:
    """Write to the end of a file that workers share; one of `most` bytes is put aside then. OSError."""
    while not _appended(file, lines.encode("utf-8", "replace"), most):
        pass


def _appended(file: Path, lines: bytes, most: int) -> bool:
    """Whether it was written; not when the file was put aside while its turn was waited for."""
    with open(file, "ab", opener=_private) as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        if not _is_still(file, os.fstat(opened.fileno())):
            return False
        opened.write(lines)
        opened.flush()
        if os.fstat(opened.fileno()).st_size >= most:
            file.replace(file.with_name(f"{file.name}.1"))
        return True


def _is_still(file: Path, held: os.stat_result) -> bool:
    """Whether the file is the one that is held."""
    try:
        return os.path.samestat(file.stat(), held)
    except FileNotFoundError:
        return False


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
