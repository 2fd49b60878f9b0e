"""What is done every so often, by one worker at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy import ColumnElement, Engine, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from app.engine.context import Context, Stopping
from app.engine.leases import living
from models.base import now, transaction
from models.engine import EngineSchedule

log = logging.getLogger("yardmaster.engine")
Turn = Callable[[Context], None]
# No object in a session that an update would have to find and change.
UNSEEN: Final[Mapping[str, Any]] = {"synchronize_session": False}


@dataclass(frozen=True, slots=True)
class Schedule:
    """Something done every `seconds`."""

    name: str
    seconds: float
    turn: Turn


class Schedules:
    """The schedules of one worker. A turn runs in a thread of its own, and is over before the next begins."""

    def __init__(self, engine: Engine, executor: str, stopping: threading.Event, enter: Callable[[], None]) -> None:
        self._engine = engine
        self._executor = executor
        self._stopping = stopping
        self._enter = enter
        self._known: dict[str, Schedule] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._written = False

    def add(self, schedule: Schedule) -> None:
        """Know a further schedule; ValueError when there is one of the name."""
        if schedule.name in self._known:
            raise ValueError(f"there is a schedule {schedule.name!r} already")
        self._known[schedule.name] = schedule

    def _write_down(self) -> None:
        """Give each schedule its row, once; a new one is due at once."""
        with transaction(self._engine) as opened:
            rows = {"postgresql": postgresql, "sqlite": sqlite}[self._engine.dialect.name].insert(EngineSchedule)
            for name in self._known:
                opened.execute(rows.values(name=name, next_at=now()).on_conflict_do_nothing())
        self._written = True

    def take_turns(self) -> None:
        """Begin what is due and in nobody's hands."""
        if not self._written:
            self._write_down()
        with transaction(self._engine, write=False) as opened:
            due = opened.scalars(select(EngineSchedule.name).where(*self._due())).all()
        for name in due:
            if name in self._known and not self._busy(name) and self._take(name):
                self._threads[name] = threading.Thread(
                    target=partial(self._run, self._known[name]), name=f"every {name}", daemon=True
                )
                self._threads[name].start()

    def join(self, seconds: float) -> None:
        """Wait for the turns at hand."""
        for thread in self._threads.values():
            thread.join(seconds)

    def _busy(self, name: str) -> bool:
        thread = self._threads.get(name)
        return thread is not None and thread.is_alive()

    def _due(self) -> tuple[ColumnElement[bool], ...]:
        held_by = EngineSchedule.executor
        free = or_(held_by.is_(None), held_by == self._executor, held_by.not_in(living()))
        return EngineSchedule.next_at <= now(), free

    def _take(self, name: str) -> bool:
        mine = update(EngineSchedule).where(EngineSchedule.name == name, *self._due()).values(executor=self._executor)
        with transaction(self._engine) as opened:
            return opened.scalar(mine.returning(EngineSchedule.name), execution_options=UNSEEN) is not None

    def _run(self, schedule: Schedule) -> None:
        self._enter()
        wait = timedelta(seconds=schedule.seconds)
        try:
            schedule.turn(Context(schedule.name, self._stopping, lambda: False, lambda _, function: function()))
        except Stopping:
            wait = timedelta()  # another worker may go on at once
        except Exception as error:  # noqa: BLE001 (the next turn may go well)
            log.warning("%s failed: %s", schedule.name, type(error).__name__)
        self._give_back(schedule, wait)

    def _give_back(self, schedule: Schedule, wait: timedelta) -> None:
        mine = update(EngineSchedule).where(
            EngineSchedule.name == schedule.name, EngineSchedule.executor == self._executor
        )
        try:
            with transaction(self._engine) as opened:
                opened.execute(mine.values(executor=None, next_at=now() + wait), execution_options=UNSEEN)
        except Exception as error:  # noqa: BLE001 (a database away: this worker takes it again, or whoever outlives it)
            log.warning("the turn of %s cannot be given back: %s", schedule.name, type(error).__name__)
