"""Cost cells: what calls came to by day, project, feature, template, model and user, kept for the cost map.

Whoever stores calls, and whoever erases a user, holds the lock of the one writer: nobody else changes cells.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.gateway.modules.catalogue import parse_duration
from app.services.trace_record import TraceRecord
from models.base import micros
from models.identity import User
from models.observing import CostCell

DAY_S: Final = 86_400
DAY_US: Final = 86_400_000_000
KEPT_DAYS: Final = 90
# Callers name projects, features and models: beyond so many cells of one day, new ones are counted in one.
MOST_CELLS: Final = 1_000
OTHER: Final = "(other)"
NOBODY: Final = 0
NAME_LENGTH: Final = 200
SUMS: Final = ("calls", "unpriced", "tokens", "cost_nano")


class Cell(NamedTuple):
    """The key of a cell, in the order of its columns."""

    day: int
    project: str
    feature: str
    template: str
    model: str
    user_id: int

    @property
    def other(self) -> Cell:
        """Where its calls are counted when there are too many cells."""
        return Cell(self.day, OTHER, OTHER, OTHER, OTHER, NOBODY)


KEY: Final[tuple[InstrumentedAttribute[Any], ...]] = tuple(getattr(CostCell, name) for name in Cell._fields)
Sums = Mapping[Cell, Counter[str]]


def keep(session: Session, rows: Iterable[TraceRecord]) -> None:
    """Count newly stored calls that cost something, or whose price is not known."""
    paid = [row for row in rows if row.cost_nano != 0]
    if not paid:
        return
    numbers = {row.user_id for row in paid if row.user_id is not None}
    known = set(session.scalars(select(User.id).where(User.id.in_(numbers)))) if numbers else set()
    _add(session, _bounded(session, _summed(paid, known)))


def let_go(session: Session, user_id: int) -> None:
    """Make a user's cells nobody's: the sums stay."""
    sums = [getattr(CostCell, name) for name in SUMS]
    gone = session.execute(delete(CostCell).where(CostCell.user_id == user_id).returning(*KEY, *sums))
    found: dict[Cell, Counter[str]] = {}
    for row in gone.all():
        key, values = row[: len(KEY)], row[len(KEY) :]
        cell = Cell(*key)._replace(user_id=NOBODY)
        found.setdefault(cell, Counter()).update(dict(zip(SUMS, values, strict=True)))
    _add(session, found)


def forget(session: Session, moment: datetime) -> None:
    """Delete the cells that are old."""
    session.execute(delete(CostCell).where(CostCell.day <= day_of(moment) - KEPT_DAYS))


def day_of(moment: datetime) -> int:
    """The UTC day of a moment, in days since the epoch."""
    return micros(moment) // DAY_US


def days_of(window: str | float) -> int:
    """Whole UTC days of a window, today included; as many as are kept at most."""
    return min(KEPT_DAYS, max(1, math.ceil(parse_duration(window) / DAY_S)))


def _summed(rows: Iterable[TraceRecord], known: set[int]) -> Sums:
    found: dict[Cell, Counter[str]] = {}
    for row in rows:
        user_id = row.user_id if row.user_id in known else None
        named = (_name(row.tags.get("feature")), _name(row.details.get("template")))
        cell = Cell(row.created_at // DAY_US, row.project, *named, row.model, user_id or NOBODY)
        sums = found.setdefault(cell, Counter(dict.fromkeys(SUMS, 0)))
        sums["calls"] += 1
        sums["unpriced"] += row.cost_nano is None
        sums["tokens"] += row.tokens_in + row.tokens_out
        sums["cost_nano"] += row.cost_nano or 0
    return found


def _name(value: Any) -> str:
    return value.replace("\0", "")[:NAME_LENGTH] if isinstance(value, str) else ""


def _bounded(session: Session, found: Sums) -> Sums:
    """The cells, the new ones of a day together once there are too many of it."""
    fresh = Counter(cell.day for cell in found)
    held = select(CostCell.day, func.count()).where(CostCell.day.in_(fresh)).group_by(CostCell.day)
    kept = {day: int(cells) for day, cells in session.execute(held)}
    full = {day for day, cells in fresh.items() if cells + kept.get(day, 0) > MOST_CELLS}
    if not full:
        return found
    asked = [cell for cell in found if cell.day in full]
    known = {Cell(*row) for row in session.execute(select(*KEY).where(tuple_(*KEY).in_(asked)))}
    bounded: dict[Cell, Counter[str]] = {}
    for cell, sums in found.items():
        place = cell if cell in known or cell.day not in full else cell.other
        bounded.setdefault(place, Counter()).update(sums)
    return bounded


def _add(session: Session, found: Sums) -> None:
    if not found:
        return
    dialect = {"postgresql": postgresql, "sqlite": sqlite}[session.get_bind().dialect.name]
    added = dialect.insert(CostCell)
    more = {name: getattr(CostCell, name) + getattr(added.excluded, name) for name in SUMS}
    rows = [cell._asdict() | {name: found[cell][name] for name in SUMS} for cell in sorted(found)]
    session.connection().execute(added.on_conflict_do_update(index_elements=list(Cell._fields), set_=more), rows)
