"""Feedback loop: what people thought of a model's answers lately, by the calls that their ratings are about."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, NamedTuple

from sqlalchemy import ColumnElement, Engine, Select, and_, func, or_, select, union_all
from sqlalchemy.orm import Session

from app.engine import Context
from app.gateway.modules.catalogue import parse_duration
from app.services.observing import alerts
from app.services.observing.alerts import Reason
from app.services.observing.measures import CLIENT_GONE, REAL
from app.services.observing.switched import Settings, switched
from models.base import now, transaction
from models.traces import Trace
from models.trust import TrustFeedback

NAME: Final = "feedbackloop"
LONGEST_S: Final = 90 * 86_400.0
BEST: Final = 5.0
# How far above the threshold a mean must be to have recovered: one that hovers there is one alert.
MARGIN: Final = 0.25
SHOWN: Final = 20
# Ratings that belong to a scale. A thumb is shown as stars: down 0, neither 2.5, up 5.
SCALES: Final[Mapping[str, tuple[int, int]]] = {"stars": (0, 5), "thumbs": (-1, 1)}


class Rated(NamedTuple):
    """A model, and how many ratings of its answers have which mean, in stars."""

    provider: str
    model: str
    ratings: int
    mean: float


class Feedback:
    """The engine's turn that looks at what was rated."""

    EVERY_S: ClassVar[float] = 60.0

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, _context: Context) -> None:
        """Raise what fell below the threshold, and note what recovered."""
        with transaction(self._engine, write=False) as session:
            settings = switched(session).get(NAME)
            found = judged(session, settings) if settings else []
            standing = alerts.standing(session, NAME) if found else set()
        if not settings:
            return
        low = [one for one in found if one.mean < settings["alert_below"]]
        fine = [one for one in found if _rule(one) in standing and _recovered(one, settings)]
        if not low and not fine:
            return
        with transaction(self._engine) as session:
            for one in fine:
                alerts.over(session, NAME, _rule(one))
            for one in low:
                cooldown = parse_duration(settings["cooldown"])
                alerts.fire(session, _reason(one, settings), cooldown, ratings=one.ratings)


def judged(session: Session, settings: Settings) -> list[Rated]:
    """The models of which enough ratings tell, in the order of their names."""
    found = rated(session, settings, _since(settings))
    return [one for one in found if one.ratings >= settings["min_samples"]]


def rated(session: Session, settings: Settings, since: datetime) -> list[Rated]:
    """What is rated, by model."""
    found = last(TrustFeedback.created_at >= since, settings["scale"]).subquery()
    of = (found.c.provider, found.c.model)
    rows = session.execute(select(*of, func.count(), func.avg(found.c.rating)).group_by(*of).order_by(*of))
    return [Rated(provider, model, int(n), stars(mean, settings["scale"])) for provider, model, n, mean in rows]


def last(among: ColumnElement[bool], scale: str) -> Select[Any]:
    """Everybody's last rating, among these, of each answer, of those on the scale: `call` is the trace's `seq`."""
    given = tied(among).subquery()
    voice = TrustFeedback.user_email
    newest = select(func.max(given.c.id)).join(TrustFeedback, TrustFeedback.id == given.c.id)
    said = select(*given.c, TrustFeedback.rating).join(TrustFeedback, TrustFeedback.id == given.c.id)
    final = given.c.id.in_(newest.group_by(given.c.call, voice))
    return said.where(final, TrustFeedback.rating.between(*SCALES[scale]))


def stars(mean: Any, scale: str) -> float:
    """A mean of ratings of one scale on that of stars."""
    least, most = SCALES[scale]
    low, high = SCALES["stars"]
    return low + (float(mean) - least) * (high - low) / (most - least)


def stats(session: Session, settings: Settings) -> dict[str, Any]:
    """The models rated lately, the worst first; how much feedback there was, on how many calls; what was raised."""
    since = _since(settings)
    found = sorted(rated(session, settings, since), key=lambda one: (one.mean, -one.ratings, one))
    given = select(func.count()).where(TrustFeedback.created_at >= since)
    known = session.scalar(select(func.count()).select_from(tied(TrustFeedback.created_at >= since).subquery()))
    told = {
        "feedback": session.scalar(given),
        "tied": known,
        "models": [_shown(one, settings) for one in found[:SHOWN]],
    }
    return told | alerts.raised(session, NAME)


def _since(settings: Settings) -> datetime:
    return now() - timedelta(seconds=min(LONGEST_S, parse_duration(settings["window"])))


def tied(among: ColumnElement[bool]) -> Select[Any]:
    """Feedback, among this, by its number, with the last of the answers it names.

    None where it names answers of several models.
    """
    names = (
        _named(among, Trace.id == TrustFeedback.request_id),
        _named(among, Trace.request_id == TrustFeedback.request_id),
    )
    pairs = union_all(*names).subquery()
    least, most = (tuple(of(pairs.c[name]) for name in ("provider", "model")) for of in (func.min, func.max))
    told = (pairs.c.id, func.max(pairs.c.call).label("call"), least[0].label("provider"), least[1].label("model"))
    return select(*told).group_by(pairs.c.id).having(and_(least[0] == most[0], least[1] == most[1]))


def _named(among: ColumnElement[bool], by: ColumnElement[bool]) -> Select[int, int, str, str]:
    """Feedback with the answered calls it names: the rater's own, unless an operator gave it."""
    answered = and_(Trace.source == REAL, Trace.status != "error", Trace.http_status != CLIENT_GONE)
    aside = Trace.details["for"].as_string().is_not(None)
    own = or_(TrustFeedback.user_id.is_(None), TrustFeedback.user_id == Trace.user_id)
    told = (TrustFeedback.id, Trace.seq.label("call"), Trace.provider, Trace.model)
    return select(*told).join(Trace, by).where(among, answered, ~aside, own)


def _recovered(one: Rated, settings: Settings) -> bool:
    enough: float = min(BEST, settings["alert_below"] + MARGIN)
    return one.mean >= enough


def _rule(one: Rated) -> str:
    return f"ratings of {one.provider}/{one.model}"


def _reason(one: Rated, settings: Settings) -> Reason:
    mean = round(one.mean, 2)
    window = settings["window"]
    said = f"{one.provider}/{one.model}: the mean of {one.ratings} ratings of the last {window} is {mean:g} of 5."
    return Reason(NAME, _rule(one), "mean_rating", mean, settings["alert_below"], said)


def _shown(one: Rated, settings: Settings) -> dict[str, Any]:
    told = {"provider": one.provider, "model": one.model, "ratings": one.ratings, "mean": round(one.mean, 2)}
    return told | {"judged": one.ratings >= settings["min_samples"]}
