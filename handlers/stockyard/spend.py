"""What is spent, and the caps on it."""

from __future__ import annotations

from typing import Any

from app.http import caller
from app.problems import not_found
from app.services.spending import reports, user_caps
from models.base import now, session

Json = dict[str, Any]


def get_spend(team_id: str | None = None) -> Json:
    """What projects, or one team, spent today and this month."""
    return reports.summary(session(), now()) if team_id is None else reports.of_team(session(), now(), team_id)


def list_spend_history(days: int, project: str | None = None) -> Json:
    """What each project spent on each day."""
    return reports.history(session(), now(), days, project)


def get_user_spend(id_: str) -> Json:
    """What a user spent today and this month."""
    asking = caller()
    if not asking.is_admin and id_ != str(asking.user_id):
        raise not_found("User")
    return reports.of_user(session(), now(), id_)


def list_user_spend_history(id_: str, days: int) -> Json:
    """What a user spent on each day."""
    return reports.user_history(session(), now(), days, id_)


def get_user_spend_cap(id_: str) -> Json:
    """A user's own cap."""
    return user_caps.shown(id_)


def replace_user_spend_cap(id_: str, body: Json) -> Json:
    """Set a user's own cap."""
    daily, monthly = body.get("daily_cap", 0), body.get("monthly_cap", 0)
    user_caps.replace(id_, daily, monthly, soft=body.get("soft_cap", False))
    return {"status": "updated"}
