"""Anomaly radar: each answered call beside what is usual of its user's calls to its model, over all workers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.orm import Session

from app.gateway.modules.catalogue import parse_duration
from app.gateway.money import usd
from app.services.observing import alerts
from app.services.observing.alerts import Reason
from app.services.observing.measures import ANSWERED, REAL, end_of
from app.services.observing.switched import Settings
from app.services.observing.usual import MEMORY, Clock, Usual, hour_of
from app.services.trace_record import TraceRecord
from models.base import now
from models.identity import User
from models.observing import UsualCall

NAME: Final = "anomalyradar"
COST, SIZE, HOUR = "cost", "size", "hour"
NOBODY: Final = 0
HOUR_US: Final = 3_600_000_000
# One standard deviation at least: a tenth of a cost or a size, an hour of the clock. Calls that were all alike would
# otherwise make the next one an anomaly by a token more.
LEAST: Final = 0.1
LEAST_HOURS: Final = 1.0
# Hours with a call that tell when somebody is at work.
ENOUGH_HOURS: Final = 24
KEPT: Final = timedelta(days=90)
MOST_KEPT: Final = 100_000
Whose = tuple[int, str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """How far one figure of a call is from the usual, what it was and what is usual."""

    measure: str
    deviation: float
    figure: float
    usual: float


def watch(session: Session, settings: Settings, rows: Iterable[TraceRecord]) -> None:
    """Judge newly stored calls, each by those before it, and learn from them; report what is not usual, once each."""
    calls = [row for row in rows if row.source == REAL and end_of(row) == ANSWERED]
    patterns = _patterns(session, {_whose(row) for row in calls})
    unusual: dict[str, list[tuple[list[Found], TraceRecord]]] = {}
    for row in calls:
        pattern = patterns[_whose(row)]
        if found := beyond(judged(pattern, row, settings), settings):
            unusual.setdefault(_rule(found[0], row), []).append((found, row))
        learn(pattern, row, settings)
    session.flush()
    for rule in sorted(unusual):
        (first, *others), row = max(unusual[rule], key=lambda one: abs(one[0][0].deviation))
        told = _told(first, row) | {"also": [one.measure for one in others], "calls": len(unusual[rule])}
        alerts.fire(session, _reason(rule, first, row, settings), parse_duration(settings["cooldown"]), **told)


def judged(pattern: UsualCall, row: TraceRecord, settings: Settings) -> Iterator[Found]:
    """The figures of a call of which enough is known."""
    least = settings["min_samples"]
    for measure, usual, value in _figures(pattern, row):
        if usual.values >= least:
            yield Found(measure, usual.deviation(value, LEAST), math.expm1(value), math.expm1(usual.mean))
    clock, hour = _clock(pattern), hour_of(row.created_at)
    if pattern.calls >= least and clock.values >= ENOUGH_HOURS:
        yield Found(HOUR, clock.deviation(hour, LEAST_HOURS), hour, clock.hour)


def beyond(figures: Iterable[Found], settings: Settings) -> list[Found]:
    """The figures further from the usual than they may be, the furthest first: one call is one report, by that one."""
    found = [one for one in figures if abs(one.deviation) > settings["sensitivity"]]
    return sorted(found, key=lambda one: -abs(one.deviation))


def learn(pattern: UsualCall, row: TraceRecord, settings: Settings) -> None:
    """Add a call to its pattern. One that is not usual counts as the edge of it: it must not become the usual one."""
    memory, held = max(MEMORY, settings["min_samples"]), {}
    for measure, usual, value in _figures(pattern, row):
        known = usual.values >= settings["min_samples"]
        held[measure] = usual.learnt(usual.bounded(value, settings["sensitivity"], LEAST) if known else value, memory)
    pattern.calls, pattern.size_mean, pattern.size_variance = held[SIZE]
    if COST in held:
        pattern.priced, pattern.cost_mean, pattern.cost_variance = held[COST]
    if (hour := row.created_at // HOUR_US) != pattern.last_hour:
        pattern.last_hour = hour
        pattern.hours, pattern.clock_across, pattern.clock_up = _clock(pattern).learnt(hour_of(row.created_at))
    pattern.seen_at = now()


def forget(session: Session, moment: datetime) -> None:
    """Forget patterns of calls long past, of users who are gone, and the oldest of too many."""
    session.execute(delete(UsualCall).where(UsualCall.seen_at < moment - KEPT))
    known = UsualCall.user_id.in_(select(User.id))
    session.execute(delete(UsualCall).where(UsualCall.user_id != NOBODY, ~known))
    by_age = select(UsualCall.seen_at).order_by(UsualCall.seen_at.desc())
    oldest = session.scalar(by_age.offset(MOST_KEPT).limit(1))
    if oldest is not None:
        session.execute(delete(UsualCall).where(UsualCall.seen_at <= oldest))


def stats(session: Session, settings: Settings) -> dict[str, Any]:
    """How many patterns there are, how many of them calls are judged by, and what was raised."""
    patterns = select(func.count()).select_from(UsualCall)
    judging = session.scalar(patterns.where(UsualCall.calls >= settings["min_samples"]))
    return {"patterns": session.scalar(patterns), "judging": judging, **alerts.raised(session, NAME)}


def _whose(row: TraceRecord) -> Whose:
    return row.user_id or NOBODY, row.provider, row.model


def _patterns(session: Session, wanted: set[Whose]) -> Mapping[Whose, UsualCall]:
    """The patterns, held until the transaction is over, in one order; a new one where there is none."""
    key = (UsualCall.user_id, UsualCall.provider, UsualCall.model)
    held = select(UsualCall).where(tuple_(*key).in_(sorted(wanted))).order_by(*key).with_for_update()
    found = {(one.user_id, one.provider, one.model): one for one in session.scalars(held)} if wanted else {}
    for user_id, provider, model in wanted - found.keys():
        made = UsualCall(user_id=user_id, provider=provider, model=model, calls=0, size_mean=0.0, size_variance=0.0)
        made.priced, made.cost_mean, made.cost_variance = Usual()
        made.hours, made.clock_across, made.clock_up = Clock()
        session.add(made)
        found[user_id, provider, model] = made
    return found


def _figures(pattern: UsualCall, row: TraceRecord) -> Iterator[tuple[str, Usual, float]]:
    """Cost and size on a logarithmic scale: both spread by factors, and a sum would call every long answer unusual."""
    size = Usual(pattern.calls, pattern.size_mean, pattern.size_variance)
    yield SIZE, size, math.log1p(row.tokens_in + row.tokens_out)
    if row.cost_nano is not None:
        cost = Usual(pattern.priced, pattern.cost_mean, pattern.cost_variance)
        yield COST, cost, math.log1p(row.cost_nano)


def _clock(pattern: UsualCall) -> Clock:
    return Clock(pattern.hours, pattern.clock_across, pattern.clock_up)


def _rule(found: Found, row: TraceRecord) -> str:
    return f"{found.measure} of {_user(row)} on {row.provider}/{row.model}"


def _user(row: TraceRecord) -> str:
    return "nobody" if row.user_id is None else f"user {row.user_id}"


def _reason(rule: str, found: Found, row: TraceRecord, settings: Settings) -> Reason:
    away = round(abs(found.deviation), 2)
    was, usual = _shown(found.measure, found.figure), _shown(found.measure, found.usual)
    said = f"{row.provider}/{row.model}: a call of {_user(row)} was {was}, {away:g} standard deviations from {usual}."
    return Reason(NAME, rule, found.measure, away, settings["sensitivity"], said)


def _shown(measure: str, figure: float) -> str:
    if measure == SIZE:
        return f"{figure:.0f} tokens"
    minute = int(figure * 60) % 1_440
    return f"${usd(round(figure)):.6g}" if measure == COST else f"at {minute // 60:02}:{minute % 60:02} UTC"


def _told(found: Found, row: TraceRecord) -> dict[str, Any]:
    """By which the call is found; a cost in dollars, a size in tokens, an hour of the day in UTC."""
    figure, usual = found.figure, found.usual
    if found.measure == COST:
        figure, usual = usd(round(figure)), usd(round(usual))
    told = {"trace_id": row.id, "user_id": row.user_id, "provider": row.provider, "model": row.model}
    return told | {"figure": round(figure, 9), "usual": round(usual, 9)}
