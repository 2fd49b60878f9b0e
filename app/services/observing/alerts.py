"""Raises an alert: said once for as long as its cooldown lasts, whichever worker or machine sees the reason first."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.services.webhooks import announce
from models.base import now
from models.observing import RaisedAlert
from models.views.fields import rfc3339

Json = dict[str, Any]
log = logging.getLogger("yardmaster.alerts")
KEPT: Final = timedelta(days=90)
SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an alert is raised: the module and its rule, the figure that passed the threshold, and a sentence."""

    source: str
    rule: str
    metric: str
    figure: float
    threshold: float
    message: str


def fire(session: Session, reason: Reason, cooldown_s: float, **details: Any) -> bool:
    """Raise an alert unless it was raised lately and is not over; in the transaction at hand, one for writing."""
    moment = now()
    held = session.get(RaisedAlert, (reason.source, reason.rule), with_for_update=True)
    if held is not None and held.over_at is None and held.raised_at > moment - timedelta(seconds=cooldown_s):
        return False
    if held is None:
        held = RaisedAlert(source=reason.source, rule=reason.rule, times=0)
        session.add(held)
    held.raised_at, held.times, held.over_at = moment, held.times + 1, None
    held.figure, held.threshold = reason.figure, reason.threshold
    announce("alert.fired", _told(reason, moment) | ({"details": details} if details else {}))
    log.warning("%s: %s", reason.source, reason.message)
    return True


def over(session: Session, source: str, rule: str) -> None:
    """Note that the reason is over: the next time it is raised at once, whatever the cooldown."""
    held = session.get(RaisedAlert, (source, rule), with_for_update=True)
    if held is not None and held.over_at is None:
        held.over_at = now()


def standing(session: Session, source: str) -> set[str]:
    """The rules whose alerts were raised and are not known to be over."""
    return set(
        session.scalars(select(RaisedAlert.rule).where(RaisedAlert.source == source, RaisedAlert.over_at.is_(None)))
    )


def raised(session: Session, source: str) -> Json:
    """What a module raised, as its statistics show it: how often, and the last ones."""
    found = session.scalars(
        select(RaisedAlert).where(RaisedAlert.source == source).order_by(RaisedAlert.raised_at.desc())
    ).all()
    return {"alerts": sum(alert.times for alert in found), "last_alerts": [_shown(alert) for alert in found[:SHOWN]]}


def forget(session: Session, moment: datetime) -> None:
    """Forget what was last raised long ago."""
    session.execute(delete(RaisedAlert).where(RaisedAlert.raised_at < moment - KEPT))


def _told(reason: Reason, moment: datetime) -> Json:
    return {
        "source": reason.source,
        "rule_name": reason.rule,
        "metric": reason.metric,
        "metric_value": reason.figure,
        "threshold": reason.threshold,
        "message": reason.message,
        "fired_at": rfc3339(moment),
    }


def _shown(alert: RaisedAlert) -> Json:
    told = {"rule": alert.rule, "raised_at": rfc3339(alert.raised_at), "times": alert.times}
    return told | {"figure": alert.figure, "threshold": alert.threshold}
