"""What calls came to, read from the rollups alone: totals, breakdowns, and series without gaps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.gateway.money import usd
from app.services.traces import kept_total
from models.base import EPOCH
from models.traces import SpendRollup, Trace, UsageDay, UsageRollup

Json = dict[str, Any]
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
HOURS = 24
US_PER_MS = 1_000
TOP_MODELS = 10
# Tags and models are named by callers: a breakdown shows so many and sums up the rest.
MOST_ROWS = 500
OTHER = "(other)"
PERIODS: Mapping[str, int] = {"24h": 1, "7d": 7, "30d": 30}


class Sums(NamedTuple):
    """What some calls came to."""

    requests: int = 0
    unpriced: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_nano: int = 0
    errors: int = 0
    cache_hits: int = 0
    duration_us: int = 0

    def __add__(self, other: object) -> Sums:
        """Both together."""
        return Sums(*(a + b for a, b in zip(self, other, strict=True))) if isinstance(other, Sums) else NotImplemented

    @property
    def avg_latency_ms(self) -> float:
        """Milliseconds a call took; 0 when there was none."""
        return round(self.duration_us / self.requests / US_PER_MS, 3) if self.requests else 0.0


BOTH = ("requests", "unpriced", "tokens_in", "tokens_out", "cost_nano")
Groups = dict[tuple[Any, ...], Sums]


def _by_hour(session: Session, by: Sequence[InstrumentedAttribute[Any]], *where: ColumnElement[bool]) -> Groups:
    return _summed(session, UsageRollup, Sums._fields, by, where)


def _by_day(session: Session, by: Sequence[InstrumentedAttribute[Any]], *where: ColumnElement[bool]) -> Groups:
    return _summed(session, UsageDay, Sums._fields, by, where)


def _spend(session: Session, by: Sequence[InstrumentedAttribute[Any]], *where: ColumnElement[bool]) -> Groups:
    return _summed(session, SpendRollup, BOTH, by, where)


def _summed(
    session: Session,
    table: type[UsageRollup | UsageDay | SpendRollup],
    names: Iterable[str],
    by: Sequence[InstrumentedAttribute[Any]],
    where: Iterable[ColumnElement[bool]],
) -> Groups:
    columns: list[InstrumentedAttribute[int]] = [getattr(table, name) for name in names]
    rows = session.execute(select(*by, *map(func.sum, columns)).where(*where).group_by(*by))
    # PostgreSQL sums integers into decimals.
    return {tuple(row[: len(by)]): Sums(*map(int, row[len(by) :])) for row in rows}


def _day(moment: datetime) -> int:
    return (moment - EPOCH) // DAY


def _hour(moment: datetime) -> int:
    return (moment - EPOCH) // HOUR


def overview(session: Session, moment: datetime) -> Json:
    """All calls ever counted, those of this UTC day, and how many traces are kept."""
    groups = _by_day(session, (UsageDay.provider, UsageDay.model))
    total = sum(groups.values(), Sums())
    today = sum(_by_day(session, (UsageDay.day,), UsageDay.day >= _day(moment)).values(), Sums())
    return {
        "total_requests": total.requests,
        "total_errors": total.errors,
        "total_tokens_in": total.tokens_in,
        "total_tokens_out": total.tokens_out,
        "total_cost_usd": usd(total.cost_nano),
        "total_traces": kept_total(session, {}),
        "unpriced_requests": total.unpriced,
        "avg_latency_ms": total.avg_latency_ms,
        "cache_hit_rate": round(total.cache_hits / total.requests, 6) if total.requests else 0.0,
        "top_model": _busiest(groups, 1),
        "top_provider": _busiest(groups, 0),
        "requests_today": today.requests,
        "cost_today_usd": usd(today.cost_nano),
        "today": {"requests": today.requests, "cost_usd": usd(today.cost_nano)},
    }


def _busiest(groups: Groups, at: int) -> str | None:
    """The model or provider most calls went to; null before there was one."""
    regrouped = {key: sums for key, sums in _regrouped(groups, at).items() if key[0]}
    return max(regrouped, key=lambda key: (regrouped[key].requests, key))[0] if regrouped else None


def _regrouped(groups: Groups, *at: int) -> Groups:
    regrouped: Groups = {}
    for key, sums in groups.items():
        part = tuple(key[n] for n in at)
        regrouped[part] = regrouped.get(part, Sums()) + sums
    return regrouped


def costs(session: Session, moment: datetime, days: int, group_by: str) -> Json:
    """The last days' spend by provider and by model, and in `breakdown` by whatever was asked."""
    first = _day(moment) - days + 1
    groups = _by_day(session, (UsageDay.provider, UsageDay.model), UsageDay.day >= first)
    providers, total = _regrouped(groups, 0), sum(groups.values(), Sums())
    known = {"provider": lambda: providers, "model": lambda: _regrouped(groups, 1)}
    broken = known[group_by]() if group_by in known else _by_payer(session, first, group_by)
    return {
        "period": f"{days}d",
        "total_usd": usd(total.cost_nano),
        "total_requests": total.requests,
        "unpriced_requests": total.unpriced,
        "providers": [{"provider": key[0]} | _priced(sums) for key, sums in _ranked(providers)],
        "models": [{"provider": key[0], "model": key[1]} | _priced(sums) for key, sums in _ranked(groups)],
        "group_by": group_by,
        "breakdown": [{"key": key[0]} | _priced(sums) for key, sums in _ranked(broken)],
    }


def _by_payer(session: Session, first: int, scope: str) -> Groups:
    return _spend(session, (SpendRollup.ref,), SpendRollup.scope == scope, SpendRollup.day >= first)


def _ranked(groups: Groups) -> list[tuple[tuple[Any, ...], Sums]]:
    """Dearest first; what the list has no room for is summed up in its last row."""
    ranked = sorted(groups.items(), key=lambda group: (-group[1].cost_nano, -group[1].requests, group[0]))
    if len(ranked) <= MOST_ROWS:
        return ranked
    shown, rest = ranked[: MOST_ROWS - 1], ranked[MOST_ROWS - 1 :]
    return [*shown, ((OTHER,) * len(rest[0][0]), sum((sums for _, sums in rest), Sums()))]


def _priced(sums: Sums) -> Json:
    return {
        "requests": sums.requests,
        "tokens_in": sums.tokens_in,
        "tokens_out": sums.tokens_out,
        "cost_usd": usd(sums.cost_nano),
        "unpriced_requests": sums.unpriced,
    }


def daily(session: Session, moment: datetime, days: int, **only: str | None) -> Json:
    """Each of the last UTC days, oldest first, days without a call included; `only` filters provider and model."""
    last = _day(moment)
    where = [getattr(UsageDay, name) == value for name, value in only.items() if value is not None]
    spent = _by_day(session, (UsageDay.day,), UsageDay.day > last - days, *where)
    span = range(last - days + 1, last + 1)
    rows = [{"date": _date(day)} | _priced(spent.get((day,), Sums())) for day in span]
    return {"daily": rows, "period": f"{days}d"}


def _date(day: int) -> str:
    return (EPOCH + day * DAY).date().isoformat()


def timeseries(session: Session, moment: datetime, period: str) -> Json:
    """Calls by hour (24h) or by UTC day, no bucket missing, and the providers and busiest models of that span."""
    hourly = period == "24h"
    read, table, at = (_by_hour, UsageRollup, UsageRollup.hour) if hourly else (_by_day, UsageDay, UsageDay.day)
    last = _hour(moment) if hourly else _day(moment)
    span = range(last - (HOURS if hourly else PERIODS[period]) + 1, last + 1)
    buckets = read(session, (at,), at >= span.start)
    groups = read(session, (table.provider, table.model), at >= span.start)
    models = sorted(_regrouped(groups, 1).items(), key=lambda group: (-group[1].requests, group[0]))
    return {
        "period": period,
        "buckets": [_bucket(_label(n, hourly=hourly), buckets.get((n,), Sums())) for n in span],
        "providers": [_provider(key[0], sums) for key, sums in _ranked(_regrouped(groups, 0))],
        "models": [
            {"model": key[0], "requests": s.requests, "cost_usd": usd(s.cost_nano)} for key, s in models[:TOP_MODELS]
        ],
    }


def _label(at: int, *, hourly: bool) -> str:
    return f"{EPOCH + at * HOUR:%Y-%m-%d %H}:00" if hourly else _date(at)


def _bucket(label: str, sums: Sums) -> Json:
    measured = {"avg_latency_ms": sums.avg_latency_ms, "errors": sums.errors}
    return {"bucket": label} | _priced(sums) | measured


def _provider(name: str, sums: Sums) -> Json:
    spent = {"requests": sums.requests, "cost_usd": usd(sums.cost_nano), "tokens": sums.tokens_in + sums.tokens_out}
    return {"provider": name, "avg_latency_ms": sums.avg_latency_ms} | spent


@dataclass(frozen=True, slots=True)
class Recent:
    """Calls traced within a span of time, and what those with a known price cost."""

    calls: int
    cost_nano: int


def recent(session: Session, since: datetime) -> Recent:
    """The calls since a moment."""
    counted = select(func.count(), func.coalesce(func.sum(Trace.cost_nano), 0)).where(Trace.created_at >= since)
    calls, cost = session.execute(counted).one()
    return Recent(calls, int(cost or 0))
