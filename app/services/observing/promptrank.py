"""Prompt ranking: the versions of each of promptpad's templates, by the ratings of what they led to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final, NamedTuple

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.gateway.modules import promptpad
from app.gateway.modules.catalogue import parse_duration
from app.services.observing import ratings
from app.services.observing.switched import enabled, settings_of
from models.base import now
from models.traces import Trace
from models.trust import TrustFeedback

Json = dict[str, Any]
NAME: Final = "promptrank"
MOST_VERSIONS: Final = 200
BEGINNING: Final = 80


class Version(NamedTuple):
    """One text of a template, and how many ratings of its answers have which mean, in stars."""

    template: str
    version: str | None
    ratings: int
    mean: float


def stats(session: Session) -> Json:
    """Template by template, the best version first; one with too few ratings has no rank. Nothing while it is off."""
    settings = enabled(session, NAME)
    if settings is None:
        return {}
    scale: str = settings_of(session, ratings.NAME)["scale"]
    since = now() - timedelta(seconds=min(ratings.LONGEST_S, parse_duration(settings["window"])))
    rows = session.execute(versions(since, scale)).all()
    found = [Version(name, version, int(n), ratings.stars(mean, scale)) for name, version, n, mean in rows]
    now_used: dict[tuple[str, str | None], str] = {
        (template["name"], promptpad.version_of(template["content"])): template["content"][:BEGINNING]
        for template in settings_of(session, promptpad.NAME)["templates"]
    }
    return {"versions": list(_ranked(found, settings["min_samples"], now_used))}


def versions(since: datetime, scale: str) -> Select[Any]:
    """The versions rated most, with how often and the mean, read from what was rated and the calls that it names."""
    rated = ratings.last(TrustFeedback.created_at >= since, scale).subquery()
    name, version = (Trace.details[key].as_string() for key in ("template", "template_version"))
    number = func.count()
    found = select(name, version, number, func.avg(rated.c.rating)).join(rated, rated.c.call == Trace.seq)
    by_number = found.where(name.is_not(None)).group_by(name, version).order_by(number.desc(), name, version)
    return by_number.limit(MOST_VERSIONS)


def _ranked(found: Iterable[Version], least: int, now_used: Mapping[tuple[str, str | None], str]) -> Iterator[Json]:
    def order(one: Version) -> Any:
        return one.template, one.ratings < least, -one.mean, -one.ratings, one.version or ""

    for _, same in groupby(sorted(found, key=order), key=lambda one: one.template):
        for rank, one in enumerate(same, start=1):
            told: Json = {"template": one.template, "version": one.version}
            told |= {"rank": rank if one.ratings >= least else None, "ratings": one.ratings, "mean": round(one.mean, 2)}
            begins = now_used.get((one.template, one.version))
            yield told | {"in_use": begins is not None, "begins": begins}
