"""The caps operators set on single users."""

from __future__ import annotations

from typing import Any

from app.gateway.money import nano_from_usd, usd
from app.services.accounts import get_user
from app.services.revisions import bump
from models.base import session
from models.identity import User
from models.spend import SpendCap

Json = dict[str, Any]
MOST_ID = 2**63 - 1


def cap_nano(dollars: float) -> int:
    """A cap in nano-dollars: one finer than a nano-dollar is the smallest there is, for 0 would be no limit."""
    return max(nano_from_usd(float(dollars)), int(dollars > 0))


def number(user: str) -> int | None:
    """The user's number, or None when the text can be nobody's."""
    return int(user) if user.isascii() and user.isdigit() and int(user) <= MOST_ID and user == str(int(user)) else None


def shown(user: str) -> Json:
    """A user's own cap in dollars; zeros where none is set, for users there are not too."""
    found = number(user)
    cap = session().get(SpendCap, found) if found is not None else None
    known = session().get(User, found) if found is not None else None
    plan = {"tier": known.tier} if known else {}
    return {
        "user_id": user,
        **plan,
        "daily_cap": usd(cap.daily_nano) if cap else 0.0,
        "monthly_cap": usd(cap.monthly_nano) if cap else 0.0,
        "soft_cap": bool(cap and cap.soft),
        "configured": cap is not None,
    }


def replace(user: str, daily: float, monthly: float, *, soft: bool) -> None:
    """Set a user's cap, for every worker within a second; a 404 Problem when there is no such user."""
    known = get_user(number(user) or 0)
    session().refresh(known, with_for_update=True)  # of two at once, one comes after the other
    session().merge(SpendCap(user_id=known.id, daily_nano=cap_nano(daily), monthly_nano=cap_nano(monthly), soft=soft))
    bump()
