"""Counters that all workers of a data directory share: a file each, and one for those who ended.

A worker holds a lock for as long as it lives. What it counted is added to the file of the ended by whoever first finds
the lock free, so that no sum ever falls: to Prometheus, one that falls was reset.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import orjson

log = logging.getLogger("yardmaster.metrics")
Json = dict[str, Any]
# By family, labels (as JSON) and position in the series.
Counted = dict[str, dict[str, list[int]]]
FOLDER: Final = "metrics"
ENDED: Final = "ended.json"
TURN: Final = ".turn"
ALIVE, COUNTS = ".alive", ".json"


class Shared:
    """One worker's place among the others."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._alive: int | None = None

    def open(self) -> None:
        """Say that this worker lives; OSError when the disk takes no file."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._turn():
            self._alive = os.open(self._folder / f"{self._name}{ALIVE}", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._alive, fcntl.LOCK_EX)

    def close(self, counted: Json) -> None:
        """Leave what was counted to the ended."""
        self.tell(counted)
        with self._turn():
            if self._alive is not None:
                os.close(self._alive)
                self._alive = None
            self._bury()

    def tell(self, told: Json) -> None:
        """Let the others know; `told` has the counters of `Counted` under `counted`, and what else is to be known."""
        _write(self._folder / f"{self._name}{COUNTS}", told)

    def gather(self) -> tuple[Counted, list[Json]]:
        """The sums of all who lived and live, and what each living worker told last."""
        with self._turn():
            self._bury()
            living = [_read(path) for path in self._folder.glob(f"*{COUNTS}") if path.name != ENDED]
            counted = _read(self._folder / ENDED).get("counted", {})
        for told in living:
            add(counted, told.get("counted", {}))
        return counted, living

    @contextmanager
    def _turn(self) -> Iterator[None]:
        fd = os.open(self._folder / TURN, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _bury(self) -> None:
        """Add up what the dead left, and remove it; a crash in between counts it once more, at worst."""
        dead = [path for path in self._folder.glob(f"*{ALIVE}") if _is_free(path)]
        if not dead:
            return
        ended = _read(self._folder / ENDED).get("counted", {})
        for path in dead:
            add(ended, _read(path.with_suffix(COUNTS)).get("counted", {}))
        _write(self._folder / ENDED, {"counted": ended})
        for path in dead:
            path.with_suffix(COUNTS).unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def add(counted: Counted, more: Counted) -> None:
    """Add series to others, in place."""
    for family, series in more.items():
        held = counted.setdefault(family, {})
        for key, values in series.items():
            before = held.get(key)
            same = before is not None and len(before) == len(values)
            held[key] = [a + b for a, b in zip(before or (), values, strict=True)] if same else list(values)


def folded(series: dict[str, list[int]], most: int, fold: Iterable[int], name: str) -> dict[str, list[int]]:
    """At most so many series: those beyond, least first, are added up with `name` in place of some labels."""
    if len(series) <= most:
        return series
    ordered = sorted(series, key=lambda key: -series[key][0])
    kept = {key: series[key] for key in ordered[:most]}
    for key in ordered[most:]:
        labels = orjson.loads(key)
        for at in fold:
            labels[at] = name
        add({"": kept}, {"": {orjson.dumps(labels).decode(): series[key]}})
    return kept


def _is_free(path: Path) -> bool:
    """Whether nobody holds the lock: its worker is dead."""
    try:
        fd = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _read(path: Path) -> Json:
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, told: Json) -> None:
    """Whole or not at all; a full disk must not end a worker."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with suppress(OSError):
        draft.write_bytes(orjson.dumps(told))
        draft.replace(path)
