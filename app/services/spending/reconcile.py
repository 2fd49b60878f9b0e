"""The proof that money is counted right: counters against rollups, rollups against traces, reserves against holds.

Everything is compared, and put right, in one transaction in which nobody else writes; whoever only wants to know rolls
it back. So a counter is held against what the rollups are once they say what the traces do. Rollups are kept for good
and traces are not: only days of which every trace is still there are held against them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Update,
    delete,
    func,
    insert,
    literal_column,
    select,
    type_coerce,
    update,
)
from sqlalchemy.orm import Session

from app.gateway.money import usd
from app.services.rollups import DAY_US, only_writer
from app.services.spending.counters import COUNTERS, HOLDS, Key, in_rollups, only_spender
from models.base import EPOCH, micros
from models.identity import ApiKey, User
from models.spend import SpendCounter
from models.traces import SpendRollup, Trace, TraceTag, UsageDay

Json = dict[str, Any]
# Written into the statement: PostgreSQL takes two parameters for two values, and groups by neither.
began: ColumnElement[int] = type_coerce(Trace.created_at, BigInteger) // literal_column(str(DAY_US), BigInteger)
SUMS = ("requests", "unpriced", "tokens_in", "tokens_out", "cost_nano")
TRACED = (
    func.count(),
    func.count() - func.count(Trace.cost_nano),
    func.sum(Trace.tokens_in),
    func.sum(Trace.tokens_out),
    func.coalesce(func.sum(Trace.cost_nano), 0),
)
PAYERS: Mapping[str, Any] = {"project": Trace.project, "user": Trace.user_id, "key": Trace.key_id, "tag": TraceTag.tag}
KEY = (COUNTERS.c.period, COUNTERS.c.scope, COUNTERS.c.ref)
Payer = tuple[int, str, str]
Amounts = tuple[int, ...]
Rows = dict[Payer, dict[str, Amounts]]


@dataclass(frozen=True, slots=True)
class Difference:
    """One amount that is not what it should be, in nano-dollars: a `rollup`, a counter's `spent` or its `reserved`."""

    what: str
    period: str
    scope: str
    ref: str
    stands: int
    should: int

    def shown(self) -> Json:
        """In dollars."""
        return asdict(self) | {"stands": usd(self.stands), "should": usd(self.should)}


class Report(NamedTuple):
    """What was compared, and what differed."""

    counters: int
    days: int
    differences: list[Difference]


def reconcile(session: Session, moment: datetime, retention_days: int) -> Report:
    """Compare everything, and put right what differs; the caller commits, or rolls back."""
    only_writer(session.connection())
    only_spender(session.connection())
    days = _whole_days(session, moment, retention_days)
    differences = [*_rollups(session, days), *_spent(session), *_reserved(session)]
    counters = session.scalar(select(func.count()).select_from(SpendCounter)) or 0
    return Report(counters, len(days), differences)


def _whole_days(session: Session, moment: datetime, retention_days: int) -> range:
    """The days whose traces are all there: within retention, and none before the oldest that was not deleted."""
    ends = session.scalar(select(func.min(Trace.created_at))), session.scalar(select(func.max(Trace.created_at)))
    if ends[0] is None or ends[1] is None:
        return range(0)
    first, last = (micros(end) // DAY_US for end in ends if end)
    kept = session.scalar(select(func.count()).where(*_within(range(first, first + 1))))
    counted = session.scalar(select(func.sum(UsageDay.requests)).where(UsageDay.day == first))
    whole = first if kept == counted else first + 1
    within = micros(moment) // DAY_US - retention_days + 1 if retention_days else whole
    return range(max(whole, within), last + 1)


def _rollups(session: Session, days: range) -> list[Difference]:
    """What the traces of these days come to, against what is rolled up; set right where they differ."""
    traced, rolled = _traced(session, days), _rolled(session, days)
    known = _known(session)
    found = []
    for payer in sorted(traced.keys() | rolled.keys()):
        should, stands = traced.get(payer, {}), rolled.get(payer, {})
        if should == stands or not known(payer):
            continue
        day, scope, ref = payer
        date = (EPOCH + timedelta(days=day)).date().isoformat()
        found.append(Difference("rollup", date, scope, ref, _cost(stands), _cost(should)))
        _replace(session, payer, should)
    return found


def _known(session: Session) -> Callable[[Payer], bool]:
    """Whether a payer's traces still name them: an erased user's do not, while the sums stay."""
    users, keys = (set(map(str, session.scalars(select(column)))) for column in (User.id, ApiKey.id))
    there = {"user": users, "key": keys}
    return lambda payer: payer[1] not in there or payer[2] in there[payer[1]]


def _traced(session: Session, days: range) -> Rows:
    rows: Rows = {}
    for scope, ref in PAYERS.items():
        query = select(began, ref, Trace.model, *TRACED).where(*_within(days), ref.is_not(None))
        joined = query.join(TraceTag, TraceTag.seq == Trace.seq) if scope == "tag" else query
        found = session.execute(joined.group_by(began, ref, Trace.model))
        _gather(rows, ((day, scope, who, model, *sums) for day, who, model, *sums in found))
    return rows


def _within(days: range) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    first, end = (EPOCH + timedelta(days=day) for day in (days.start, days.stop))
    return Trace.created_at >= first, Trace.created_at < end


def _rolled(session: Session, days: range) -> Rows:
    rows: Rows = {}
    key = (SpendRollup.day, SpendRollup.scope, SpendRollup.ref, SpendRollup.model)
    query = select(*key, *(getattr(SpendRollup, name) for name in SUMS))
    _gather(rows, session.execute(query.where(SpendRollup.day >= days.start, SpendRollup.day < days.stop)))
    return rows


def _gather(rows: Rows, found: Iterable[Any]) -> None:
    for day, scope, ref, model, *sums in found:
        rows.setdefault((int(day), scope, str(ref)), {})[model] = tuple(map(int, sums))


def _cost(models: dict[str, Amounts]) -> int:
    return sum(amounts[-1] for amounts in models.values())


def _replace(session: Session, payer: Payer, models: dict[str, Amounts]) -> None:
    day, scope, ref = payer
    at = {"day": day, "scope": scope, "ref": ref}
    session.execute(delete(SpendRollup).where(*(getattr(SpendRollup, name) == value for name, value in at.items())))
    rows = [at | {"model": model} | dict(zip(SUMS, amounts, strict=True)) for model, amounts in models.items()]
    if rows:
        session.execute(insert(SpendRollup), rows)


def _spent(session: Session) -> Iterator[Difference]:
    """What counters say was spent, against the rollups."""
    connection = session.connection()
    for row in connection.execute(select(COUNTERS).order_by(*KEY)).all():
        key = Key(row.period, row.scope, row.ref)
        should = in_rollups(connection, key)
        if row.spent_nano != should:
            yield Difference("spent", *key, row.spent_nano, should)
            connection.execute(_at(key).values(spent_nano=should, version=COUNTERS.c.version + 1))


def _reserved(session: Session) -> Iterator[Difference]:
    """What counters say is reserved, against what calls hold."""
    connection = session.connection()
    by_counter = select(HOLDS.c.period, HOLDS.c.scope, HOLDS.c.ref, func.sum(HOLDS.c.amount_nano))
    held = connection.execute(by_counter.group_by(HOLDS.c.period, HOLDS.c.scope, HOLDS.c.ref))
    should = {Key(*key): int(amount) for *key, amount in held}
    for row in connection.execute(select(COUNTERS).order_by(*KEY)).all():
        key = Key(row.period, row.scope, row.ref)
        if row.reserved_nano != should.get(key, 0):
            yield Difference("reserved", *key, row.reserved_nano, should.get(key, 0))
            connection.execute(_at(key).values(reserved_nano=should.get(key, 0)))


def _at(key: Key) -> Update:
    return update(COUNTERS).where(*(COUNTERS.c[name] == value for name, value in key._asdict().items()))
