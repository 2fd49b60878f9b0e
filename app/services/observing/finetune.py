"""Fine-tune tracking: what a fine-tuned model costs and how it is rated, beside the model it came from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.gateway.money import usd
from app.services.observing import ratings
from app.services.observing.cells import day_of, days_of
from app.services.observing.switched import enabled, settings_of
from models.base import EPOCH, now
from models.traces import UsageDay

Json = dict[str, Any]
NAME: Final = "finetunetrack"
SUMS: Final = ("requests", "errors", "cache_hits", "unpriced", "tokens_in", "tokens_out", "cost_nano")


class Used(NamedTuple):
    """What the calls of one model came to."""

    requests: int = 0
    errors: int = 0
    cache_hits: int = 0
    unpriced: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_nano: int = 0

    @property
    def per_call_nano(self) -> int | None:
        """The mean cost of an answer that a provider wrote and whose price is known; None without any."""
        answers = self.requests - self.errors - self.cache_hits - self.unpriced
        return round(self.cost_nano / answers) if answers > 0 else None


class Liked(NamedTuple):
    """How many ratings the answers of one model have, and their sum in stars."""

    ratings: int = 0
    stars: float = 0.0

    @property
    def mean(self) -> float | None:
        """Their mean; None of none."""
        return round(self.stars / self.ratings, 2) if self.ratings else None


def stats(session: Session) -> Json:
    """Each pair, in the order of the fine-tuned models' names; nothing while the module is off."""
    settings = enabled(session, NAME)
    if settings is None:
        return {}
    pairs: Mapping[str, str] = settings["pairs"]
    since = day_of(now()) - days_of(settings["window"]) + 1
    models = {*pairs, *pairs.values()}
    used, liked = _used(session, models, since), _liked(session, models, since)
    rows = [{"model": pair[0], "base": pair[1]} | _compared(pair, used, liked) for pair in sorted(pairs.items())]
    return {"since": (EPOCH + timedelta(days=since)).date().isoformat(), "pairs": rows}


def usage(models: Collection[str], since: int) -> Select[Any]:
    """What calls to these models came to from a day on, read from the sums of days."""
    sums = (func.sum(getattr(UsageDay, name)) for name in SUMS)
    asked = UsageDay.model.in_(sorted(models))
    return select(UsageDay.model, *sums).where(UsageDay.day >= since, asked).group_by(UsageDay.model)


def _used(session: Session, models: Collection[str], since: int) -> dict[str, Used]:
    rows = session.execute(usage(models, since)) if models else ()
    return {model: Used(*map(int, sums)) for model, *sums in rows}


def _liked(session: Session, models: Collection[str], since: int) -> dict[str, Liked]:
    """Ratings by model, on the scale that feedbackloop's settings say, whoever provided it."""
    found: dict[str, Liked] = {}
    scale = settings_of(session, ratings.NAME)
    for one in ratings.rated(session, scale, EPOCH + timedelta(days=since)) if models else ():
        if one.model in models:
            held = found.get(one.model, Liked())
            found[one.model] = Liked(held.ratings + one.ratings, held.stars + one.ratings * one.mean)
    return found


def _compared(pair: tuple[str, str], used: Mapping[str, Used], liked: Mapping[str, Liked]) -> Json:
    tuned, base = (used.get(model, Used()) for model in pair)
    better, worse = (liked.get(model, Liked()) for model in pair)
    told: Json = {"fine_tuned": _shown(tuned, better), "original": _shown(base, worse)}
    change = {"cost_per_call_percent": _percent(tuned, base), "mean_rating": _more(better, worse)}
    return told | {"change": change}


def _percent(tuned: Used, base: Used) -> float | None:
    now_nano, before = tuned.per_call_nano, base.per_call_nano
    return round(100 * (now_nano - before) / before, 2) if now_nano is not None and before else None


def _more(tuned: Liked, base: Liked) -> float | None:
    return round(tuned.mean - base.mean, 2) if tuned.mean is not None and base.mean is not None else None


def _shown(used: Used, liked: Liked) -> Json:
    each = used.per_call_nano
    told: Json = {"calls": used.requests, "errors": used.errors, "unpriced": used.unpriced}
    told |= {"tokens_in": used.tokens_in, "tokens_out": used.tokens_out, "cost_usd": usd(used.cost_nano)}
    told |= {"cost_per_call_usd": None if each is None else usd(each)}
    return told | {"ratings": liked.ratings, "mean_rating": liked.mean}
