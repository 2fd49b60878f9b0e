"""Tells this worker's watchers that something about jobs was committed, before they would look by themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import event

from models.base import session

RINGING = "box_jobs_ringing"


class Bell:
    """Whom to wake: callbacks that may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    def listen(self, tell: Callable[[], None]) -> None:
        """Call `tell` whenever something happened in this process."""
        with self._lock:
            self._listeners.append(tell)

    def forget(self, tell: Callable[[], None]) -> None:
        """Do so no more."""
        with self._lock:
            self._listeners = [known for known in self._listeners if known != tell]

    def ring(self) -> None:
        """Something happened."""
        with self._lock:
            listeners = list(self._listeners)
        for tell in listeners:
            tell()


BELL = Bell()


def ring() -> None:
    """Wake this process's watchers once the current transaction is committed; other workers look by themselves."""
    opened = session()
    if not opened.info.get(RINGING):
        opened.info[RINGING] = True
        event.listen(opened, "after_commit", _rung, once=True)


def _rung(_session: Any) -> None:
    BELL.ring()
