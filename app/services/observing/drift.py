"""Drift watch: a model's answers of the last hours beside those of the days before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Final

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.engine import Context
from app.gateway.modules.catalogue import parse_duration
from app.services.observing import alerts, spreads
from app.services.observing.alerts import Reason
from app.services.observing.measures import LATENCY, REFUSED, TOKENS
from app.services.observing.spreads import HOUR, Counts, Whose
from app.services.observing.switched import Settings, switched
from models.base import micros, now, transaction

NAME: Final = "driftwatch"
# This hour and the last: enough calls to tell, soon enough to matter.
RECENT: Final = 2 * HOUR
MEDIAN: Final = 50
SHOWN: Final = 20
WORDS: Final = {TOKENS: "tokens in an answer", LATENCY: "milliseconds an answer takes", REFUSED: "per cent of refusals"}


def _median_ms(counts: Mapping[int, int]) -> float:
    return (spreads.percentile(counts, MEDIAN) or 0) / 1_000


def _refused(counts: Mapping[int, int]) -> float:
    return 100 * counts.get(1, 0) / (sum(counts.values()) or 1)


FIGURES: Final[Mapping[str, Callable[[Mapping[int, int]], float]]] = {
    TOKENS: spreads.mean,
    LATENCY: _median_ms,
    REFUSED: _refused,
}


class Drift:
    """The engine's turn that compares."""

    EVERY_S: ClassVar[float] = 300.0

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, _context: Context) -> None:
        """Raise what changed more than it may."""
        with transaction(self._engine, write=False) as session:
            settings = switched(session).get(NAME)
            changed = [found for found in compared(session, settings) if found["changed"]] if settings else []
        if not settings or not changed:
            return
        with transaction(self._engine) as session:
            for found in changed:
                cooldown = parse_duration(settings["cooldown"])
                alerts.fire(session, _reason(found, settings), cooldown, calls=found["calls"])


def compared(session: Session, settings: Settings) -> Iterator[dict[str, Any]]:
    """Each figure of each model that enough calls tell of: before, and now."""
    hour = spreads.slot_of(micros(now()), HOUR)
    recent = hour + HOUR - RECENT
    first = recent - max(HOUR, int(parse_duration(settings["baseline"]) // 60))
    before = spreads.read(session, HOUR, FIGURES, (first, recent))
    lately = spreads.read(session, HOUR, FIGURES, (recent, hour + HOUR))
    for measure, figure in FIGURES.items():
        for whose, counts in sorted(lately.get(measure, {}).items()):
            held: Counts = before.get(measure, {}).get(whose, Counter())
            if min(sum(counts.values()), sum(held.values())) >= settings["min_samples"]:
                yield _comparison(measure, whose, (figure(held), figure(counts)), settings) | {
                    "calls": sum(counts.values())
                }


def _comparison(measure: str, whose: Whose, figures: tuple[float, float], settings: Settings) -> dict[str, Any]:
    """Refusals are compared by percentage points, the others by their change in percent."""
    before, lately = figures
    if measure == REFUSED:
        change, most = lately - before, settings["refusals"]
    else:
        change, most = 100 * (lately - before) / before if before else 0.0, settings["threshold"]
    told: dict[str, Any] = {"provider": whose[0], "model": whose[1], "measure": measure}
    told |= {"before": round(before, 2), "now": round(lately, 2), "change": round(change, 2)}
    return told | {"changed": 0 < most <= (change if measure == REFUSED else abs(change))}


def _reason(found: Mapping[str, Any], settings: Settings) -> Reason:
    measure = found["measure"]
    rule = f"{measure} of {found['provider']}/{found['model']}"
    most = settings["refusals"] if measure == REFUSED else settings["threshold"]
    said = f"{found['provider']}/{found['model']}: {WORDS[measure]} went from {found['before']:g} to {found['now']:g}."
    return Reason(NAME, rule, measure, found["change"], most, said)


def stats(session: Session, settings: Settings) -> dict[str, Any]:
    """What is compared now, the greatest change first, and what was raised."""
    found = sorted(compared(session, settings), key=lambda one: -abs(one["change"]))
    return {"compared": found[:SHOWN], **alerts.raised(session, NAME)}
