"""Counters of budgets in the database: begun from the rollups, settled in the transaction that stores the traces.

Whoever changes a counter or a hold does so alone: SQLite has one writer anyway, PostgreSQL takes an advisory lock. The
recorder takes it last of its locks and holds it until its rollups are committed, so a counter that is begun meanwhile
either finds the calls in the rollups or is found by them, never neither and never both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    text,
    tuple_,
    update,
)

from app.services.spending.periods import DAY_LENGTH, MONTH_LENGTH, days, periods
from models.spend import SpendCounter, SpendHold
from models.traces import SpendRollup

LOCK = 7_201_916
MODEL = "model"
DAYS_KEPT, MONTHS_KEPT = timedelta(days=62), timedelta(days=400)
COUNTERS: Table = SpendCounter.metadata.tables["spend_counters"]
HOLDS: Table = SpendHold.metadata.tables["spend_holds"]


class Key(NamedTuple):
    """One payer in one period."""

    period: str
    scope: str
    ref: str


class Standing(NamedTuple):
    """What a counter says: nano-dollars."""

    spent: int = 0
    reserved: int = 0
    version: int = 0


class Paid(NamedTuple):
    """A stored call: its id, when it began (microseconds since the epoch), its cost, and who pays."""

    id: str
    created_at: int
    cost_nano: int
    payers: Sequence[tuple[str, str]]


def _key(table: Table) -> tuple[Column[Any], ...]:
    return table.c.period, table.c.scope, table.c.ref


def _at() -> list[ColumnElement[bool]]:
    return [column == bindparam(f"at_{column.name}") for column in _key(COUNTERS)]


CHANGE = (
    update(COUNTERS)
    .where(*_at())
    .values(
        spent_nano=COUNTERS.c.spent_nano + bindparam("more_spent"),
        reserved_nano=COUNTERS.c.reserved_nano + bindparam("more_reserved"),
        version=COUNTERS.c.version + bindparam("newer"),
    )
)


def only_spender(connection: Connection) -> None:
    """Wait until no other transaction changes counters or holds."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})


def standings(connection: Connection, keys: Collection[Key]) -> dict[Key, Standing]:
    """What the counters say; those that were never asked for begin with what the rollups hold. Only for the spender."""
    found = read(connection, keys)
    missing = [key for key in keys if key not in found]
    for key in missing:
        found[key] = Standing(spent=in_rollups(connection, key))
    if missing:
        rows = [key._asdict() | {"spent_nano": found[key].spent} for key in missing]
        connection.execute(insert(COUNTERS), [row | {"reserved_nano": 0, "version": 0, "noticed": 0} for row in rows])
    return found


def read(connection: Connection, keys: Collection[Key]) -> dict[Key, Standing]:
    """What those of the counters say that there are."""
    columns = (*_key(COUNTERS), COUNTERS.c.spent_nano, COUNTERS.c.reserved_nano, COUNTERS.c.version)
    rows = connection.execute(select(*columns).where(tuple_(*_key(COUNTERS)).in_(list(keys))))
    return {Key(*row[:3]): Standing(*row[3:]) for row in rows}


def in_rollups(connection: Connection, key: Key) -> int:
    """What the daily rollups say was spent. A model's part is in its projects'."""
    span = days(key.period)
    cost = select(func.coalesce(func.sum(SpendRollup.cost_nano), 0))
    scope, column = ("project", SpendRollup.model) if key.scope == MODEL else (key.scope, SpendRollup.ref)
    within = (SpendRollup.day >= span.start, SpendRollup.day < span.stop)
    return int(connection.scalar(cost.where(SpendRollup.scope == scope, column == key.ref, *within)) or 0)


def change(connection: Connection, changes: Mapping[Key, Sequence[int]]) -> None:
    """Add to counters: what was spent, then what is reserved. Counters that nobody asked for are not begun by it."""
    rows = [
        {f"at_{name}": value for name, value in key._asdict().items()}
        | {"more_spent": spent, "more_reserved": reserved, "newer": int(spent != 0)}
        for key, (spent, reserved) in changes.items()
        if spent or reserved
    ]
    if rows:
        connection.execute(CHANGE, rows)


def settle(connection: Connection, calls: Iterable[Paid]) -> None:
    """Count stored calls where a cap applies, and end what they held: in the transaction that stores them."""
    only_spender(connection)
    if connection.scalar(select(COUNTERS.c.period).limit(1)) is None:
        return
    changes: dict[Key, list[int]] = {}
    ids = []
    for call in calls:
        ids.append(call.id)
        for period in periods(call.created_at):
            for scope, ref in call.payers:
                changes.setdefault(Key(period, scope, ref), [0, 0])[0] += call.cost_nano
    for key, amount in taken(connection, HOLDS.c.trace_id.in_(ids)):
        changes.setdefault(key, [0, 0])[1] -= amount
    change(connection, changes)


def taken(connection: Connection, which: ColumnElement[bool]) -> list[tuple[Key, int]]:
    """End holds, and tell what they held of which counters, which the caller must give back."""
    ended = delete(HOLDS).where(which).returning(*_key(HOLDS), HOLDS.c.amount_nano)
    return [(Key(*row[:3]), row[3]) for row in connection.execute(ended)]


def expire(connection: Connection, moment: datetime) -> int:
    """Give back what calls held that nobody answers for any more, and forget old periods; how many holds ended."""
    only_spender(connection)
    changes: dict[Key, list[int]] = {}
    ended = taken(connection, HOLDS.c.expires_at < moment)
    for key, amount in ended:
        changes.setdefault(key, [0, 0])[1] -= amount
    change(connection, changes)
    _forget(connection, moment.date())
    return len(ended)


def _forget(connection: Connection, today: date) -> None:
    period, empty = COUNTERS.c.period, COUNTERS.c.reserved_nano == 0
    for length, kept in ((DAY_LENGTH, DAYS_KEPT), (MONTH_LENGTH, MONTHS_KEPT)):
        oldest = (today - kept).isoformat()[:length]
        connection.execute(delete(COUNTERS).where(func.length(period) == length, period < oldest, empty))
