"""What was spent, by project, team and user: from the daily rollups, which are written with the traces."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, case, desc, func, select
from sqlalchemy.orm import Session

from app.gateway.money import usd
from app.services.rollups import tag_ref
from app.services.spending.periods import days, periods
from models.base import EPOCH, micros
from models.traces import SpendRollup

Json = dict[str, Any]
OTHER = "(other)"
# Projects are named by callers: so many are shown, and the rest is summed up.
MOST_PROJECTS, MOST_IN_HISTORY = 500, 50


class Sums(NamedTuple):
    """What some calls came to; money in nano-dollars."""

    cost: int = 0
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    unpriced: int = 0

    def __sub__(self, other: Sums) -> Sums:
        """What is left without the other's part."""
        return Sums(*(a - b for a, b in zip(self, other, strict=True)))


SUMS = [
    func.coalesce(func.sum(column), 0)
    for column in (
        SpendRollup.cost_nano,
        SpendRollup.requests,
        SpendRollup.tokens_in,
        SpendRollup.tokens_out,
        SpendRollup.unpriced,
    )
]
COST = SUMS[0]


def _since(day: int, scope: str, ref: str | None = None) -> list[ColumnElement[bool]]:
    where = [SpendRollup.scope == scope, SpendRollup.day >= day]
    return where if ref is None else [*where, SpendRollup.ref == ref]


def _present(moment: datetime) -> tuple[int, int]:
    """Today and the first of this month, as days since the epoch."""
    day, month = periods(micros(moment))
    return days(day).start, days(month).start


def summary(session: Session, moment: datetime) -> Json:
    """Each project's dollars of today and this month, dearest first, and the total."""
    today, first = _present(moment)
    now = func.coalesce(func.sum(case((SpendRollup.day >= today, SpendRollup.cost_nano), else_=0)), 0)
    by_project = select(SpendRollup.ref, now, COST).where(*_since(first, "project")).group_by(SpendRollup.ref)
    rows = session.execute(by_project.order_by(desc(COST), SpendRollup.ref)).all()
    found = [(name, int(day), int(month)) for name, day, month in rows]
    shown, rest = found[: MOST_PROJECTS - 1], found[MOST_PROJECTS - 1 :]
    projects = {name: _dollars(day, month) for name, day, month in shown}
    if rest:
        projects[OTHER if len(rest) > 1 else rest[0][0]] = _together(rest)
    return {"projects": projects, "total": _together(found)}


def _together(rows: Iterable[tuple[str, int, int]]) -> Json:
    kept = list(rows)
    return _dollars(sum(day for _, day, _ in kept), sum(month for _, _, month in kept))


def _dollars(day: int, month: int) -> Json:
    return {"today": usd(day), "month": usd(month)}


def of_team(session: Session, moment: datetime, team: str) -> Json:
    """What calls with the tag `team` of this value came to."""
    return {"team_id": team} | _of(session, moment, "tag", tag_ref("team", team))


def of_user(session: Session, moment: datetime, user: str) -> Json:
    """What a user's calls came to; zeros for somebody who never called."""
    return {"user_id": user} | _of(session, moment, "user", user)


def _of(session: Session, moment: datetime, scope: str, ref: str) -> Json:
    today, first = _present(moment)
    day, month = (_one(session, select(*SUMS).where(*_since(start, scope, ref))) for start in (today, first))
    tokens = {"tokens_in": month.tokens_in, "tokens_out": month.tokens_out}
    return _dollars(day.cost, month.cost) | tokens


def _one(session: Session, query: Select[*tuple[Any, ...]]) -> Sums:
    return Sums(*map(int, session.execute(query).one()))  # PostgreSQL sums integers into decimals


def user_history(session: Session, moment: datetime, span: int, user: str) -> Json:
    """A user's days with calls, newest first."""
    first = _present(moment)[0] - span + 1
    by_day = select(SpendRollup.day, *SUMS).where(*_since(first, "user", user)).group_by(SpendRollup.day)
    rows = session.execute(by_day.order_by(desc(SpendRollup.day)))
    return {"daily": [{"user_id": user} | _row(day, Sums(*map(int, sums))) for day, *sums in rows]}


def history(session: Session, moment: datetime, span: int, project: str | None) -> Json:
    """The projects' days with calls, newest first and by name; those that spent least are summed up."""
    where = _since(_present(moment)[0] - span + 1, "project", project)
    dearest = select(SpendRollup.ref).where(*where).group_by(SpendRollup.ref).order_by(desc(COST), SpendRollup.ref)
    names = set(session.scalars(dearest.limit(MOST_IN_HISTORY)))
    by_project = select(SpendRollup.day, SpendRollup.ref, *SUMS).where(*where, SpendRollup.ref.in_(names))
    rows = {
        (day, name): Sums(*map(int, sums))
        for day, name, *sums in session.execute(by_project.group_by(SpendRollup.day, SpendRollup.ref))
    }
    rows |= _rest(session, where, rows) if len(names) == MOST_IN_HISTORY else {}
    ordered = sorted(rows.items(), key=lambda row: (-row[0][0], row[0][1] == OTHER, row[0][1]))
    return {"daily": [{"project": name} | _row(day, sums) for (day, name), sums in ordered]}


def _rest(
    session: Session, where: Iterable[ColumnElement[bool]], named: dict[tuple[int, str], Sums]
) -> dict[tuple[int, str], Sums]:
    """Per day, what the named projects leave of the whole."""
    by_day = session.execute(select(SpendRollup.day, *SUMS).where(*where).group_by(SpendRollup.day))
    left = {day: Sums(*map(int, sums)) for day, *sums in by_day}
    for (day, _), sums in named.items():
        left[day] = left[day] - sums
    return {(day, OTHER): sums for day, sums in left.items() if sums.requests}


def _row(day: int, sums: Sums) -> Json:
    return {
        "date": (EPOCH + timedelta(days=day)).date().isoformat(),
        "total_cost": usd(sums.cost),
        "total_requests": sums.requests,
        "total_tokens_in": sums.tokens_in,
        "total_tokens_out": sums.tokens_out,
        "unpriced_requests": sums.unpriced,
    }
