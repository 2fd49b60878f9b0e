"""Reservations in the database, SQLite or PostgreSQL: one transaction for all that wait, exclusive of every other."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import Connection, Engine, bindparam, insert, select, update
from sqlalchemy.exc import DBAPIError

from app.gateway.caps.store import LEASE_S, SETTLED_S, Operation, Outcome, Reserve, Settle, StoreError, full
from app.services.spending.counters import HOLDS, Key, Standing, change, expire, only_spender, standings
from models.base import WRITE, now

LEASE, SETTLED = timedelta(seconds=LEASE_S), timedelta(seconds=SETTLED_S)
ENDED = update(HOLDS).where(HOLDS.c.trace_id == bindparam("ended"))


class DatabaseStore:
    """Counters and holds as rows. The recorder counts stored traces itself, in the transaction that stores them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def _spending(self) -> Iterator[Connection]:
        """A transaction in which nobody else spends."""
        try:
            with self._engine.connect().execution_options(**{WRITE: True}) as connection, connection.begin():
                only_spender(connection)
                yield connection
        except DBAPIError as error:
            raise StoreError(type(error).__name__) from error

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Settle what is settled, which may make room, then reserve in the order asked."""
        with self._spending() as connection:
            _settle(connection, [o for o in operations if isinstance(o, Settle)])
            refused = _reserve(connection, [o for o in operations if isinstance(o, Reserve)])
        return [refused.get(o.id) if isinstance(o, Reserve) else None for o in operations]

    def renew(self, ids: Collection[str]) -> None:
        """Keep what these calls hold from expiring."""
        with self._spending() as connection:
            held = update(HOLDS).where(HOLDS.c.trace_id.in_(list(ids)))
            connection.execute(held.values(expires_at=now() + LEASE))

    def tend(self) -> None:
        """End what expired."""
        with self._spending() as connection:
            expire(connection, now())


def _settle(connection: Connection, settled: Sequence[Settle]) -> None:
    """A hold that is gone was counted with its trace already, or expired and will be."""
    if not settled:
        return
    cost = {operation.id: operation.cost for operation in settled}
    held = select(HOLDS).where(HOLDS.c.trace_id.in_(list(cost)))
    changes: dict[Key, list[int]] = {}
    known = set()
    for row in connection.execute(held):
        known.add(row.trace_id)
        key = Key(row.period, row.scope, row.ref)
        changes.setdefault(key, [0, 0])[1] += cost[row.trace_id] - row.amount_nano
    change(connection, changes)
    if known:
        lasting = ENDED.values(amount_nano=bindparam("cost"), expires_at=now() + SETTLED)
        connection.execute(lasting, [{"ended": id_, "cost": cost[id_]} for id_ in sorted(known)])


def _reserve(connection: Connection, asked: Sequence[Reserve]) -> dict[str, Outcome]:
    """What was refused, by call; the rest is held."""
    if not asked:
        return {}
    standing = standings(connection, {limit.key for operation in asked for limit in operation.limits})
    refused: dict[str, Outcome] = {}
    granted = []
    for operation in asked:
        if refusal := full(operation, standing):
            refused[operation.id] = refusal
            continue
        granted.append(operation)
        for key in _keys(operation):
            held = standing[key]
            standing[key] = Standing(held.spent, held.reserved + operation.amount, held.version)
    _hold(connection, granted)
    return refused


def _hold(connection: Connection, granted: Iterable[Reserve]) -> None:
    changes: dict[Key, list[int]] = {}
    rows = []
    until = now() + LEASE
    for operation in granted:
        for key in _keys(operation):
            changes.setdefault(key, [0, 0])[1] += operation.amount
            held = {"trace_id": operation.id, "amount_nano": operation.amount, "expires_at": until}
            rows.append(held | key._asdict())
    if rows:
        change(connection, changes)
        connection.execute(insert(HOLDS), rows)


def _keys(operation: Reserve) -> list[Key]:
    """Each counter once, however many budgets are on it."""
    return list(dict.fromkeys(limit.key for limit in operation.limits))
