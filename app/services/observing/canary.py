"""Canary: counts how calls sent to a new model end, and sends all of them back when too many fail."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.gateway.modules.catalogue import parse_duration
from app.services import revisions
from app.services.observing import alerts, spreads
from app.services.observing.alerts import Reason
from app.services.observing.measures import ANSWERED, FAILED, end_of
from app.services.observing.spreads import DAY, MINUTE, Counts, Slot
from app.services.observing.switched import CANARY, Settings
from app.services.trace_record import TraceRecord
from app.services.webhooks import announce
from models.base import micros, now
from models.gateway import ModuleState, Revision
from models.observing import Spread

MEASURE: Final = "canary"
# What the module notes with each call, and what it notes there of those that went to the new model.
TRIED: Final = "canary"


def watch(session: Session, settings: Settings, rows: Iterable[TraceRecord]) -> None:
    """Count newly stored calls; go back when the window's share of failures is more than it may be."""
    tried: Counter[int] = Counter(
        end
        for row in rows
        if row.details.get(CANARY) == TRIED and (end := end_of(row)) in {ANSWERED, FAILED} and end is not None
    )
    if not tried:
        return
    minute = micros(now()) // spreads.MINUTE_US
    slot = Slot(MINUTE, MEASURE, minute, "", settings["canary"])
    spreads.add(session.connection(), {slot: tried})
    ends = counted(session, settings, minute)
    calls = ends[ANSWERED] + ends[FAILED]
    if calls >= settings["min_calls"] and ends[FAILED] / calls > settings["max_error_rate"]:
        _go_back(session, settings, ends[FAILED], calls)


def counted(session: Session, settings: Settings, minute: int) -> Counts:
    """How the calls of the window ended, this minute's included."""
    span = min(DAY, max(1, math.ceil(parse_duration(settings["window"]) / 60)))
    found = spreads.read(session, MINUTE, (MEASURE,), (minute - span + 1, minute + 1))
    return found.get(MEASURE, {}).get(("", settings["canary"]), Counter())


def _go_back(session: Session, settings: Settings, failed: int, calls: int) -> None:
    """Switch the module off, for every worker, as an operator would; what was counted is forgotten with it."""
    session.execute(select(Revision.number).with_for_update()).one()  # the turn of whoever changes settings
    state = session.get(ModuleState, CANARY, with_for_update=True)
    if state is None or not state.enabled:
        return
    state.enabled, state.version, state.updated_at = False, state.version + 1, now()
    revisions.bump()
    session.execute(delete(Spread).where(Spread.width == MINUTE, Spread.measure == MEASURE))
    session.flush()
    announce("module.toggled", {"module": CANARY, "enabled": False, "version": state.version})
    rate, most = round(failed / calls, 4), settings["max_error_rate"]
    said = f"{failed} of {calls} calls to {settings['canary']} failed: all calls go to {settings['model']} again."
    alerts.fire(session, Reason(CANARY, settings["canary"], "error_rate", rate, most, said), 0, calls=calls)
