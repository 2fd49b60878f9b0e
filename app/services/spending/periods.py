"""Periods of budgets: UTC days and calendar months, named so that they sort: `2026-11-22` and `2026-11`.

A call belongs to the periods in which it began, as its trace does. Each has a counter of its own for good: a clock that
steps back over midnight finds the day's counter as it was left, and no budget is given twice.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

from models.base import EPOCH

DAY_US = 86_400_000_000
DAY_LENGTH = 10
MONTH_LENGTH = 7
ONE_DAY = timedelta(days=1)
DAILY, MONTHLY = "daily", "monthly"


def periods(moment_us: int) -> tuple[str, str]:
    """The day and the month of a moment in microseconds since the epoch."""
    return _of_day(moment_us // DAY_US)


@lru_cache(maxsize=64)
def _of_day(number: int) -> tuple[str, str]:
    day = (EPOCH + number * ONE_DAY).date().isoformat()
    return day, day[:MONTH_LENGTH]


def kind(period: str) -> str:
    """`daily` or `monthly`."""
    return DAILY if len(period) == DAY_LENGTH else MONTHLY


def bounds(period: str) -> tuple[date, date]:
    """The first day of the period, and the first after it."""
    if kind(period) == DAILY:
        first = date.fromisoformat(period)
        return first, first + ONE_DAY
    first = date.fromisoformat(f"{period}-01")
    return first, (first + 31 * ONE_DAY).replace(day=1)


def days(period: str) -> range:
    """The days of the period, counted from the epoch as rollups count them."""
    first, end = bounds(period)
    return range((first - EPOCH.date()).days, (end - EPOCH.date()).days)


def resets_at(period: str) -> datetime:
    """When the next period begins."""
    return datetime.combine(bounds(period)[1], time(), UTC)
