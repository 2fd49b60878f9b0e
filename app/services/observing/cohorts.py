"""Cohorts: groups of users, and how many of each came back, step by step.

They are worked out now and then from the sums of days by user, which tell of every call there ever was: nothing is
counted as calls come, and whoever asks reads what was worked out last.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Final

from sqlalchemy import Engine, Select, delete, func, select
from sqlalchemy.orm import Session

from app.engine import Context
from app.services.observing.cells import day_of
from app.services.observing.groups import GROUPED, Groups, Used, count, shown
from app.services.observing.steps import STEPS
from app.services.observing.switched import Settings, enabled
from app.services.rollups import only_writer
from models.base import now, transaction
from models.identity import User
from models.observing import CohortMember, CohortView
from models.traces import SpendRollup, Trace
from models.views.fields import rfc3339

Json = dict[str, Any]
Projects = Mapping[int, str]
NAME: Final = "cohorttrack"
# Users looked at in one transaction.
PAGE: Final = 200
PAUSE_S: Final = 0.02
FRESH: Final = timedelta(hours=1)
USER: Final = SpendRollup.scope == "user"


class Turn:
    """The engine's turn: it works cohorts out again once they are an hour old."""

    EVERY_S: ClassVar[float] = 300.0

    def __init__(self, engine: Engine, *, pause_s: float = PAUSE_S) -> None:
        self._engine = engine
        self._pause_s = pause_s

    def __call__(self, context: Context) -> None:
        """Work them out, or let go of everything while the module is off."""
        with transaction(self._engine, write=False) as session:
            on = enabled(session, NAME) is not None
            made = session.scalar(select(func.max(CohortView.made_at)))
        if not on and made is not None:
            self._let_go()
        if on and (made is None or abs(now() - made) >= FRESH):
            self._work(context)

    def _work(self, context: Context) -> None:
        """Page by page through all users, then all views at once; none before anybody called."""
        today = day_of(now())
        views = {(step, by): Groups() for step in STEPS for by in GROUPED}
        for used in self._everybody(context):
            for (step, by), groups in views.items():
                count(groups, used, STEPS[step], by, today)
        if not any(views.values()):
            return
        with transaction(self._engine) as session:
            session.execute(delete(CohortView))
            for (step, by), groups in views.items():
                told = {"groups": shown(groups, STEPS[step], by, today)}
                session.add(CohortView(step=step, grouped=by, content=told, made_at=now()))

    def _everybody(self, context: Context) -> Iterator[Used]:
        last = ""
        while True:
            with transaction(self._engine, write=False) as session:
                refs = session.scalars(page(last)).all()
                found, fresh = used(session, refs) if refs else ([], {})
            if not refs:
                return
            if fresh:
                with transaction(self._engine) as session:
                    note(session, fresh)
            yield from found
            last = refs[-1]
            context.pause(self._pause_s)

    def _let_go(self) -> None:
        with transaction(self._engine) as session:
            session.execute(delete(CohortView))
            session.execute(delete(CohortMember))


def page(after: str) -> Select[str]:
    """The next users who ever called, as the sums name them."""
    return select(SpendRollup.ref).where(USER, SpendRollup.ref > after).distinct().order_by(SpendRollup.ref).limit(PAGE)


def days(refs: Sequence[str]) -> Select[str, int, int]:
    """On which days these users called, and how often."""
    found = select(SpendRollup.ref, SpendRollup.day, func.sum(SpendRollup.requests)).where(USER)
    return found.where(SpendRollup.ref.in_(refs)).group_by(SpendRollup.ref, SpendRollup.day)


def used(session: Session, refs: Sequence[str]) -> tuple[list[Used], Projects]:
    """These users with their calls by day and what they may be grouped by; and the projects not noted yet."""
    calls: dict[int, dict[int, int]] = {}
    for ref, day, number in session.execute(days(refs)):
        calls.setdefault(int(ref), {})[day] = int(number)
    plans = dict(session.execute(select(User.id, User.tier).where(User.id.in_(calls))).all())
    known = _noted(session, plans)
    fresh = _first(session, plans.keys() - known.keys())
    projects = {**known, **fresh}
    return [Used(min(held), plans.get(user), projects.get(user), held) for user, held in calls.items()], fresh


def note(session: Session, fresh: Projects) -> None:
    """Note the projects of users who are not gone; whoever erases one waits, or is over."""
    only_writer(session.connection())
    here = set(session.scalars(select(User.id).where(User.id.in_(fresh)))) - _noted(session, fresh).keys()
    session.add_all(CohortMember(user_id=user, project=fresh[user]) for user in sorted(here))


def stats(session: Session, settings: Settings) -> Json:
    """The view that the settings ask for, and when it was worked out; no groups before that."""
    view = session.get(CohortView, (settings["period"], settings["group_by"]))
    told: Json = {"period": settings["period"], "group_by": settings["group_by"]}
    if view is None:
        return told | {"made_at": None, "groups": []}
    return told | {"made_at": rfc3339(view.made_at), **view.content}


def _noted(session: Session, users: Collection[int]) -> Projects:
    rows = select(CohortMember.user_id, CohortMember.project).where(CohortMember.user_id.in_(users))
    return dict(session.execute(rows).all())


def _first(session: Session, users: Collection[int]) -> Projects:
    """The project of each user's first call, as far as its trace is kept."""
    first = select(func.min(Trace.seq)).where(Trace.user_id.in_(users)).group_by(Trace.user_id)
    rows = select(Trace.user_id, Trace.project).where(Trace.seq.in_(session.scalars(first).all()))
    return {user: project for user, project in session.execute(rows) if user is not None}
