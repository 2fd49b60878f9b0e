"""Alert pulse: the share of failures and the slowest answers of the last minutes, over all workers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import ClassVar, Final

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.engine import Context
from app.gateway.modules.catalogue import parse_duration
from app.services.observing import alerts, spreads
from app.services.observing.alerts import Reason
from app.services.observing.measures import ANSWERED, CACHED, END, FAILED, LATENCY
from app.services.observing.spreads import DAY, MINUTE, Counts
from app.services.observing.switched import Settings, switched
from models.base import micros, now, transaction

NAME: Final = "alertpulse"
P95: Final = 95
US_PER_MS: Final = 1_000


class Pulse:
    """The engine's turn that looks at the last minutes."""

    EVERY_S: ClassVar[float] = 5.0

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, _context: Context) -> None:
        """Raise what is due."""
        with transaction(self._engine, write=False) as session:
            settings = switched(session).get(NAME)
            found = list(reasons(session, settings)) if settings else []
        if not settings or not found:
            return
        with transaction(self._engine) as session:
            for reason, calls in found:
                alerts.fire(session, reason, parse_duration(settings["cooldown"]), calls=calls)


def reasons(session: Session, settings: Settings) -> Iterator[tuple[Reason, int]]:
    """The rules that are broken now, and of how many calls."""
    ends, latency = figures(session, settings)
    rules = settings["rules"]
    calls = ends[ANSWERED] + ends[CACHED] + ends[FAILED]
    rate = round(100 * ends[FAILED] / calls, 2) if calls else 0.0
    if calls >= settings["min_calls"] and 0 < rules["high_error_rate"] <= rate:
        said = f"{ends[FAILED]} of {calls} calls of the last {settings['window']} failed."
        yield Reason(NAME, "high_error_rate", "error_rate", rate, rules["high_error_rate"], said), calls
    answered = sum(latency.values())
    slow = (spreads.percentile(latency, P95) or 0) / US_PER_MS
    if answered >= settings["min_calls"] and 0 < rules["slow_p95"] <= slow:
        said = f"One in twenty of {answered} answers of the last {settings['window']} took {slow:.0f} ms or longer."
        yield Reason(NAME, "slow_p95", "latency_p95", round(slow, 1), rules["slow_p95"], said), answered


def figures(session: Session, settings: Settings) -> tuple[Counts, Counts]:
    """How the calls of the window ended, and how long answers took; in whole minutes, this one included."""
    minute = micros(now()) // spreads.MINUTE_US
    span = min(DAY, max(1, math.ceil(parse_duration(settings["window"]) / 60)))
    found = spreads.read(session, MINUTE, (END, LATENCY), (minute - span + 1, minute + 1))
    nobody = ("", "")
    return found.get(END, {}).get(nobody, Counter()), found.get(LATENCY, {}).get(nobody, Counter())
