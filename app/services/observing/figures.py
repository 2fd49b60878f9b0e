"""What observers show of themselves: percentiles and shares by model, over every worker's calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy.orm import Session

from app.gateway.money import usd
from app.services.cron import planning
from app.services.observing import (
    alerts,
    cohorts,
    costmap,
    drift,
    exchange_log,
    finetune,
    promptrank,
    pulse,
    radar,
    ratings,
    spreads,
)
from app.services.observing.measures import (
    ANSWERED,
    CACHED,
    COST,
    END,
    FAILED,
    FIRST,
    LATENCY,
    LEFT,
    SPEED,
    STREAM_END,
)
from app.services.observing.spreads import DAY, HOUR, Counts, Whose
from app.services.observing.switched import Settings, settings_of
from app.services.relays import carrying
from app.services.training import turn as training
from app.services.webhooks import shaping
from app.services.wiping import turn
from models.base import EPOCH, micros, now
from models.views.fields import rfc3339

Json = dict[str, Any]
Spans = Mapping[int, Counts]
# Points shown by granularity: a day of hours, two weeks of days.
SPANS: Final = {"hourly": (HOUR, 24), "daily": (DAY, 14)}
MOST_MODELS: Final = 20
STREAM_SHARES: Final = (50, 95, 99)
US_PER_MS: Final = 1_000
TENTHS: Final = 10


def shown(session: Session, name: str) -> Json:
    """The statistics of an observer."""
    return SHOWN[name](session, settings_of(session, name))


def _pulse(session: Session, settings: Settings) -> Json:
    ends, latency = pulse.figures(session, settings)
    calls = ends[ANSWERED] + ends[CACHED] + ends[FAILED]
    rate = round(100 * ends[FAILED] / calls, 2) if calls else None
    told = {"calls": calls, "failed": ends[FAILED], "error_rate": rate, "p95_ms": _ms(latency, pulse.P95)}
    return told | alerts.raised(session, pulse.NAME)


def _tap(session: Session, settings: Settings) -> Json:
    """For each of the models most called: latency, cost and failures, in all and span by span."""
    width, number = SPANS[settings["granularity"]]
    minute = spreads.slot_of(micros(now()), width)
    since = minute - (number - 1) * width
    measures = (LATENCY, COST, END)
    found = spreads.by_slot(session, HOUR, measures, (since, minute + width), every=width)
    found = {name: found.get(name, {}) for name in measures}
    shares: Sequence[float] = settings["percentiles"]
    models = _most_called(found[END])
    rows = [_tapped(whose, {name: held.get(whose, {}) for name, held in found.items()}, shares) for whose in models]
    return {"granularity": settings["granularity"], "since": _moment(since), "models": rows}


def _tapped(whose: Whose, found: Mapping[str, Spans], shares: Sequence[float]) -> Json:
    whole = {measure: _sum(spans.values()) for measure, spans in found.items()}
    points = [
        {"at": _moment(at)} | _point({m: spans.get(at, Counter()) for m, spans in found.items()}, shares)
        for at in sorted(found[END])
    ]
    return {"provider": whose[0], "model": whose[1]} | _point(whole, shares) | {"points": points}


def _point(found: Mapping[str, Counts], shares: Sequence[float]) -> Json:
    ends = found[END]
    return {
        "calls": sum(ends.values()),
        "errors": ends[FAILED],
        "cache_hits": ends[CACHED],
        "latency_ms": {f"p{share:g}": _ms(found[LATENCY], share) for share in shares},
        "cost_usd": {f"p{share:g}": _usd(found[COST], share) for share in shares},
    }


def _snap(session: Session, settings: Settings) -> Json:
    """For each of the models that streamed most in a day: the first token, the speed, and how streams ended."""
    minute = spreads.slot_of(micros(now()), HOUR)
    found = spreads.read(session, HOUR, (FIRST, SPEED, STREAM_END), (minute - DAY + HOUR, minute + HOUR))
    ends = found.get(STREAM_END, {})
    models = _most_called({whose: {0: counts} for whose, counts in ends.items()})
    wanted = settings["metrics"]
    rows = []
    for whose in models:
        held = {measure: found.get(measure, {}).get(whose, Counter()) for measure in (FIRST, SPEED)}
        row: Json = {"provider": whose[0], "model": whose[1], "streams": sum(ends[whose].values())}
        row |= {"first_token_ms": _spread(held[FIRST], _ms)} if wanted["ttft"] else {}
        row |= {"tokens_per_second": _spread(held[SPEED], _speed)} if wanted["tps"] else {}
        rows.append(row | (_ended(ends[whose]) if wanted["completion_check"] else {}))
    return {"since": _moment(minute - DAY + HOUR), "models": rows}


def _ended(ends: Counts) -> Json:
    streams = sum(ends.values())
    told = {"complete": ends[ANSWERED], "broken": ends[FAILED], "left_by_client": ends[LEFT]}
    return told | {"completion_rate": round(ends[ANSWERED] / streams, 4) if streams else None}


def _spread(counts: Counts, read: Callable[[Counts, float], float | None]) -> Json:
    return {f"p{share}": read(counts, share) for share in STREAM_SHARES}


def _most_called(ends: Mapping[Whose, Spans]) -> list[Whose]:
    calls = {whose: sum(sum(counts.values()) for counts in spans.values()) for whose, spans in ends.items()}
    return sorted(calls, key=lambda whose: (-calls[whose], whose))[:MOST_MODELS]


def _sum(counts: Iterable[Counts]) -> Counts:
    total: Counts = Counter()
    for more in counts:
        total.update(more)
    return total


def _ms(counts: Counts, share: float) -> float | None:
    value = spreads.percentile(counts, share)
    return None if value is None else round(value / US_PER_MS, 1)


def _usd(counts: Counts, share: float) -> float | None:
    value = spreads.percentile(counts, share)
    return None if value is None else usd(value)


def _speed(counts: Counts, share: float) -> float | None:
    value = spreads.percentile(counts, share)
    return None if value is None else value / TENTHS


def _moment(minute: int) -> str:
    return rfc3339(EPOCH + timedelta(minutes=minute))


SHOWN: Final[Mapping[str, Callable[[Session, Settings], Json]]] = {
    "alertpulse": _pulse,
    "llmtap": _tap,
    "streamsnap": _snap,
    "driftwatch": drift.stats,
    "feedbackloop": ratings.stats,
    "anomalyradar": radar.stats,
    "costmap": costmap.stats,
    "compliancelog": lambda session, _: exchange_log.stats(session),
    "retentionwipe": lambda session, _: turn.stats(session),
    "webhookforge": lambda session, _: shaping.stats(session),
    "finetunetrack": lambda session, _: finetune.stats(session),
    "promptrank": lambda session, _: promptrank.stats(session),
    "trainexport": lambda session, _: training.stats(session),
    "cohorttrack": cohorts.stats,
    "cronllm": lambda session, _: planning.stats(session),
    "webhookrelay": lambda session, _: carrying.stats(session),
}
