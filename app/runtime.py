"""What one worker holds for its lifetime: settings, engine, secrets, and the services that keep state."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import Engine

from app.security.authenticator import Authenticator
from app.security.secrets import Secrets
from app.settings import Settings
from app.spec.operations import Index


class Service(Protocol):
    """Something that runs beside the requests of a worker."""

    async def start(self) -> None:
        """Begin."""

    async def stop(self) -> None:
        """End, with nothing left unwritten."""


@dataclass(slots=True)
class Runtime:
    """One worker's state. `on_change` are called after a revision, here or in another worker."""

    settings: Settings
    engine: Engine
    secrets: Secrets
    index: Index
    authenticator: Authenticator
    gateway: Any = None
    tasks: Any = None
    meter: Any = None
    metrics: Any = None
    services: list[Service] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    on_change: list[Callable[[], None]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def changed(self) -> None:
        """Tell everything that caches stored settings that they changed."""
        with self._lock:
            for tell in self.on_change:
                tell()


_current: ContextVar[Runtime] = ContextVar("runtime")


def runtime() -> Runtime:
    """The runtime of the worker this code runs in."""
    return _current.get()


def enter(held: Runtime) -> None:
    """Make this the runtime that `runtime()` answers, in this context."""
    _current.set(held)
