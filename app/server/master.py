"""The master: keeps as many workers alive as were asked for, on one listening socket, and ends or renews them."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger("yardmaster.serve")
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# A worker that ended sooner than this is not replaced at once: something it needs may be away for a moment.
TOO_SOON_S = 1.0


class Master:
    """Runs `begin` in `count` child processes: SIGTERM ends them, SIGHUP replaces each by a fresh one.

    `begin` makes one child and returns its process id.
    """

    def __init__(self, count: int, begin: Callable[[], int]) -> None:
        self._count = count
        self._begin = begin
        self._workers: dict[int, float] = {}
        self._ending = False

    def run(self) -> None:
        """Until SIGTERM or SIGINT, and every worker has ended."""
        for number, heed in zip(SIGNALS, (self._end, self._end, self._renew), strict=True):
            signal.signal(number, heed)
        self._fill()
        while self._workers:
            pid, status = os.wait()
            began = self._workers.pop(pid, None)
            if began is not None and not self._ending:
                self._replace(pid, status, began)

    def _replace(self, pid: int, status: int, began: float) -> None:
        if len(self._workers) < self._count:
            log.warning("worker %d ended with %d; another takes its place", pid, os.waitstatus_to_exitcode(status))
            time.sleep(max(0.0, TOO_SOON_S - (time.monotonic() - began)))
            self._fill()

    def _fill(self) -> None:
        with _undisturbed():
            while len(self._workers) < self._count and not self._ending:
                self._workers[self._begin()] = time.monotonic()

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._ending = True
        self._tell(list(self._workers))

    def _renew(self, _number: int, _frame: FrameType | None) -> None:
        """Fresh workers first, so that somebody always listens; the old ones finish what they began."""
        if not self._ending:
            old = list(self._workers)
            with _undisturbed():
                self._workers |= {self._begin(): time.monotonic() for _ in old}
            self._tell(old)

    @staticmethod
    def _tell(workers: list[int]) -> None:
        for pid in workers:
            os.kill(pid, signal.SIGTERM)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A signal between the birth of a worker and its entry in the list would never reach it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def fork(work: Callable[[], None]) -> int:
    """A child that runs `work` and ends; in it, signals do what they do by default."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        work()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        log.exception("a worker failed")
    finally:
        os._exit(code)
