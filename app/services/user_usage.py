"""What a user's calls came to, read from the daily rollups: never from traces."""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, desc, func, select

from app.gateway.money import usd
from models.base import EPOCH, now, session
from models.traces import SpendRollup

Json = dict[str, Any]
TOP_MODELS = 5


def usage_of(user_id: int) -> Json:
    """Requests, tokens and dollars in all, this UTC month and this UTC day, and the models that cost most."""
    today = now().date()
    total = _sums(user_id, 0)
    return {
        "user_id": user_id,
        "total": total,
        "this_month": _brief(_sums(user_id, _day(today.replace(day=1)))),
        "today": _brief(_sums(user_id, _day(today))),
        "top_models": _top_models(user_id),
    }


def _day(day: date) -> int:
    """UTC days since the epoch, as rollups count them."""
    return (day - EPOCH.date()).days


def _mine(user_id: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return SpendRollup.scope == "user", SpendRollup.ref == str(user_id)


def _sums(user_id: int, since: int) -> Json:
    columns = (SpendRollup.requests, SpendRollup.tokens_in, SpendRollup.tokens_out, SpendRollup.cost_nano)
    summed = select(*(func.coalesce(func.sum(column), 0) for column in columns))
    row = session().execute(summed.where(*_mine(user_id), SpendRollup.day >= since)).one()
    requests, tokens_in, tokens_out, nano = map(int, row)  # PostgreSQL sums integers into decimals
    return {"requests": requests, "cost_usd": usd(nano), "tokens_in": tokens_in, "tokens_out": tokens_out}


def _brief(sums: Json) -> Json:
    return {name: sums[name] for name in ("requests", "cost_usd")}


def _top_models(user_id: int) -> list[Json]:
    requests, nano = func.sum(SpendRollup.requests), func.sum(SpendRollup.cost_nano)
    by_model = select(SpendRollup.model, requests, nano).where(*_mine(user_id)).group_by(SpendRollup.model)
    top = by_model.order_by(desc(nano), desc(requests), SpendRollup.model).limit(TOP_MODELS)
    rows = session().execute(top)
    return [{"model": model, "requests": int(count), "cost_usd": usd(int(cost))} for model, count, cost in rows]
