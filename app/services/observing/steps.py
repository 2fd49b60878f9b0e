"""The steps that use is followed in: days, weeks that begin on Mondays, and months, all of them in UTC."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Final, NamedTuple

from models.base import EPOCH

WEEK: Final = 7
MONTHS: Final = 12
# The epoch was a Thursday.
THURSDAY: Final = 3


class Step(NamedTuple):
    """One kind of step: which one a day (since the epoch) is in, the day a step begins, and how many are shown."""

    of: Callable[[int], int]
    begins: Callable[[int], date]
    shown: int


def _date(day: int) -> date:
    return EPOCH.date() + timedelta(days=day)


def _month(day: int) -> int:
    moment = _date(day)
    return moment.year * MONTHS + moment.month - 1


STEPS: Final[Mapping[str, Step]] = {
    "day": Step(lambda day: day, _date, 30),
    "week": Step(lambda day: (day + THURSDAY) // WEEK, lambda week: _date(week * WEEK - THURSDAY), 12),
    "month": Step(_month, lambda month: date(month // MONTHS, month % MONTHS + 1, 1), 12),
}
