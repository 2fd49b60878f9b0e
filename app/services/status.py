"""How the server is: every part tried for real, and what it counted."""

from __future__ import annotations

import gc
import os
import platform
import resource
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NoAnswerError
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, func, select

from app.gateway.lane import Gateway
from app.runtime import Runtime
from app.services import system
from app.services.recorder import SPOOL, read_status
from models.base import transaction
from models.gateway import Revision
from models.traces import UsageRollup

Json = dict[str, Any]
HEALTHY, DEGRADED, DOWN = "healthy", "degraded", "down"
RANK: Final = (HEALTHY, DEGRADED, DOWN)
PATIENCE_S: Final = 2.0
MB: Final = 1024 * 1024
LEAST_FREE: Final = 256 * MB
MOST_BACKLOG: Final = 64 * MB
PAGE: Final = b"\0" * 4096
STATM = Path("/proc/self/statm")


def report(held: Runtime) -> Json:
    """The status report. Nothing that fails makes it fail: it is what the report is for."""
    components = {name: _tried(check, held) for name, check in CHECKS.items()}
    answers = components["database"]["status"] != DOWN
    ran = time.monotonic() - held.started
    told: Json = {
        "status": max((part["status"] for part in components.values()), key=RANK.index),
        "uptime": system.uptime(held.started),
        "uptime_seconds": round(ran, 1),
        "version": system.release(),
        "runtime": f"{platform.python_implementation()} {platform.python_version()}",
        "memory": memory(),
        "threads": threading.active_count(),
        "worker": os.getpid(),
        "workers": held.settings.workers,
        "components": components,
    }
    return told | (_totals(held.engine) if answers else {})


def memory() -> Json:
    """Memory of this process in megabytes: resident and address space; on systems without /proc, its peak for both."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    size, resident = peak, peak
    if STATM.exists():
        size, resident = (int(pages) * resource.getpagesize() for pages in STATM.read_text().split()[:2])
    collections = sum(generation["collections"] for generation in gc.get_stats())
    return {"alloc_mb": round(resident / MB, 1), "sys_mb": round(size / MB, 1), "num_gc": collections}


def _tried(check: Callable[[Runtime], Json], held: Runtime) -> Json:
    try:
        return check(held)
    except Exception as error:  # noqa: BLE001 (whatever stopped it, that part does not work)
        return {"status": DOWN, "detail": f"it could not be tried ({type(error).__name__})"}


def _totals(engine: Engine) -> Json:
    """All calls ever rolled up; nothing when the database went away after it was tried."""
    sums = (func.sum(UsageRollup.requests), func.sum(UsageRollup.errors), func.sum(UsageRollup.duration_us))
    try:
        with transaction(engine, write=False) as opened:
            requests, errors, duration_us = (int(n or 0) for n in opened.execute(select(*sums)).one())
    except Exception:  # noqa: BLE001 (the report says what it can)
        return {}
    each = max(requests, 1)
    rates = {"error_rate": round(errors / each, 6), "avg_latency_ms": round(duration_us / each / 1000, 3)}
    return {"total_requests": requests, "total_errors": errors} | rates


class DatabaseCheck:
    """Runs a real query against a deadline; one that hangs is waited for again, never joined by a second one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="database-check")
        self._lock = threading.Lock()
        self._pending: Future[None] | None = None

    def __call__(self, patience: float = PATIENCE_S) -> str:
        """Why the database does not answer; empty when it does."""
        with self._lock:
            pending = self._pending = self._pending or self._pool.submit(self._query)
        try:
            pending.result(patience)
        except NoAnswerError:
            if not pending.done():
                return f"no answer within {patience:g} s"
            return "no answer: TimeoutError"
        except Exception as error:  # noqa: BLE001 (whatever it is, there is no answer)
            self._pending = None
            return f"no answer: {type(error).__name__}"
        self._pending = None
        return ""

    def _query(self) -> None:
        with transaction(self._engine, write=False) as opened:
            opened.execute(select(Revision.number)).one()
        if self._engine.dialect.name == "sqlite" and self._engine.url.database:
            _open_anew(self._engine.url.database)


def _open_anew(path: str) -> None:
    """Pooled connections go on reading a file that was removed; a new one cannot, and must not make an empty one."""
    with closing(sqlite3.connect(f"{Path(path).resolve().as_uri()}?mode=rw", uri=True, timeout=1)) as fresh:
        fresh.execute("SELECT number FROM revisions").fetchone()


_checks: WeakKeyDictionary[Engine, DatabaseCheck] = WeakKeyDictionary()


def _database(held: Runtime) -> Json:
    check = _checks.setdefault(held.engine, DatabaseCheck(held.engine))
    began = time.perf_counter()
    trouble = check()
    told: Json = {"status": DOWN if trouble else HEALTHY, "detail": trouble or held.engine.dialect.name}
    return told | {"latency_ms": round((time.perf_counter() - began) * 1000, 2)}


def _modules(held: Runtime) -> Json:
    gateway: Gateway = held.gateway
    modules = gateway.config.modules
    on = sum(module.enabled for module in modules.values())
    return {"status": HEALTHY, "detail": f"{on} of {len(modules)} switched on"}


def _observe(held: Runtime) -> Json:
    gateway: Gateway = held.gateway
    word = read_status(held.settings.data / SPOOL)
    waiting = f"{word.backlog_bytes} bytes wait to be recorded"
    trouble = gateway.spool.disk_error or word.trouble
    behind = word.backlog_bytes > MOST_BACKLOG or gateway.spool.waiting > 0
    detail = f"{trouble}; {waiting}" if trouble else waiting
    return {"status": DEGRADED if trouble or behind else HEALTHY, "detail": detail}


def _providers(held: Runtime) -> Json:
    gateway: Gateway = held.gateway
    broken = sorted(name for name, breaker in gateway.attempts.breakers.items() if breaker.state != "closed")
    names = sorted(gateway.config.accounts)
    detail = f"circuit open: {', '.join(broken)}" if broken else f"{len(names)} configured: {', '.join(names)}"
    return {"status": DEGRADED if broken else HEALTHY, "detail": detail}


def _disk(held: Runtime) -> Json:
    """Room in the data directory, and a page really written where calls are spooled."""
    free = shutil.disk_usage(held.settings.data).free
    room = f"{free / 1e9:.1f} GB free"
    try:
        with tempfile.TemporaryFile(dir=held.settings.data / SPOOL) as file:
            file.write(PAGE)
            file.flush()
    except OSError as error:
        return {"status": DEGRADED, "detail": f"it cannot be written ({error.strerror}); {room}"}
    return {"status": DEGRADED if free < LEAST_FREE else HEALTHY, "detail": room}


CHECKS: Final[Mapping[str, Callable[[Runtime], Json]]] = {
    "database": _database,
    "modules": _modules,
    "observe": _observe,
    "providers": _providers,
    "disk": _disk,
}
