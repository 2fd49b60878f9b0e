"""Timetables: when a job is due by its cron expression, on the clocks of its zone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from app.problems import Issue

Json = dict[str, Any]
FIELDS: Final = 5
HOURS: Final = 1
# Chosen anew whenever they are read: two servers would not agree on when such a job is due.
RANDOM: Final = re.compile(r"\b[RH]\b", re.IGNORECASE)
ANY: Final = "*"
FORM: Final = "cron expression of five fields, such as 0 9 * * mon-fri, that comes up"


def next_after(schedule: str, zone: str, moment: datetime) -> datetime:
    """The first time it is due after a moment; ValueError when there is none.

    Where clocks are put back, what is set for a certain hour happens in the first of the two alone; where they are put
    forward, what falls into the hour that is left out happens at its end.
    """
    from croniter import croniter  # noqa: PLC0415 (a tenth of a second that a server without jobs does without)

    fields = schedule.split()
    if len(fields) != FIELDS or RANDOM.search(schedule):
        raise ValueError(FORM)
    times = croniter(schedule, moment.astimezone(ZoneInfo(zone)), ret_type=datetime)
    found: datetime = times.get_next()
    while found.fold and ANY not in fields[HOURS]:
        found = times.get_next()
    return found.astimezone(UTC)


def issues(config: Json, at: tuple[str | int, ...]) -> Iterator[Issue]:
    """What no schema can say of jobs: schedules and zones that cannot be read, nothing to ask."""
    for number, job in enumerate(config["jobs"]):
        place = (*at, "jobs", number)
        if not _is_due(job["schedule"], "UTC"):
            yield Issue((*place, "schedule"), "format", FORM)
        elif not _is_due(job["schedule"], job["zone"]):
            yield Issue((*place, "zone"), "format", "time zone, such as UTC or Europe/Zurich")
        if not job["prompt"] and not job["messages"]:
            yield Issue((*place, "prompt"), "required")


def _is_due(schedule: str, zone: str) -> bool:
    try:
        next_after(schedule, zone, datetime.now(UTC))
    except (ValueError, KeyError, OSError):  # what zoneinfo raises for a name that is none, or a folder's
        return False
    return True
