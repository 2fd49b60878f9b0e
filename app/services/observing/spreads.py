"""How figures of calls spread, kept as counts in narrow buckets: sums that add up, and percentiles read from them.

Up to 31 each value has a bucket of its own; beyond, each power of two has sixteen. A value read back is the middle of
its bucket, which is 3 % off at most.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import Connection, Table, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from models.base import micros
from models.observing import Spread

MINUTE_US: Final = 60_000_000
MINUTE, HOUR, DAY = 1, 60, 1_440
PARTS: Final = 16
SPREADS: Table = Spread.metadata.tables[Spread.__tablename__]
KEY: Final = ("width", "measure", "minute", "provider", "model", "bucket")
# Minutes that slots are kept: a day of single minutes, five weeks of hours.
KEPT: Final = {MINUTE: DAY, HOUR: 35 * DAY}
Whose = tuple[str, str]
Counts = Counter[int]
ByModel = dict[Whose, Counts]


class Slot(NamedTuple):
    """One measure of one model's calls, of all calls' where both names are empty, in one slot of time."""

    width: int
    measure: str
    minute: int
    provider: str = ""
    model: str = ""


def bucket(value: int) -> int:
    """The bucket of a value from 0 up."""
    shift = max(0, value.bit_length() - PARTS.bit_length())
    return PARTS * shift + (value >> shift)


def middle(number: int) -> int:
    """The value that stands for a bucket."""
    shift = max(0, number // PARTS - 1)
    return ((number - PARTS * shift) << shift) + ((1 << shift) >> 1)


def slot_of(at_us: int, width: int) -> int:
    """The slot a moment (microseconds since the epoch) is in."""
    minute = at_us // MINUTE_US
    return minute - minute % width


def percentile(counts: Mapping[int, int], share: float) -> int | None:
    """The value that `share` percent of the calls do not exceed; None of none."""
    rank, seen = max(1, math.ceil(sum(counts.values()) * share / 100)), 0
    for number in sorted(counts):
        seen += counts[number]
        if seen >= rank:
            return middle(number)
    return None


def mean(counts: Mapping[int, int]) -> float:
    """The mean of the calls' values; 0 of none."""
    calls = sum(counts.values())
    return sum(middle(number) * count for number, count in counts.items()) / calls if calls else 0.0


def add(connection: Connection, found: Mapping[Slot, Counts]) -> None:
    """Add calls to what is kept: in the order of their keys, so that two writers take the rows' locks in one order."""
    rows = [
        dict(zip(KEY, (*slot, number), strict=True)) | {"calls": calls}
        for slot, counts in sorted(found.items())
        for number, calls in sorted(counts.items())
    ]
    if rows:
        dialect = {"postgresql": postgresql, "sqlite": sqlite}[connection.dialect.name]
        added = dialect.insert(Spread)
        more = {"calls": Spread.calls + added.excluded.calls}
        connection.execute(added.on_conflict_do_update(index_elements=list(KEY), set_=more), rows)


def read(session: Session, width: int, measures: Iterable[str], within: tuple[int, int]) -> dict[str, ByModel]:
    """By measure and model, the calls of the slots from the first minute up to, not including, the second."""
    return {
        measure: {whose: counts[0] for whose, counts in by_model.items()}
        for measure, by_model in by_slot(session, width, measures, within, every=0).items()
    }


def by_slot(
    session: Session, width: int, measures: Iterable[str], within: tuple[int, int], *, every: int
) -> dict[str, dict[Whose, dict[int, Counts]]]:
    """By measure, model, and the beginning of each span of `every` minutes; 0 is one span for all."""
    of = SPREADS.c
    span = of.minute - of.minute % every if every else of.minute * 0
    columns = (of.measure, of.provider, of.model, span, of.bucket)
    wanted = select(*columns, func.sum(of.calls)).where(
        of.width == width, of.measure.in_(list(measures)), of.minute >= within[0], of.minute < within[1]
    )
    found: dict[str, dict[Whose, dict[int, Counts]]] = {}
    for measure, provider, model, at, number, calls in session.execute(wanted.group_by(*columns)):
        spans = found.setdefault(measure, {}).setdefault((provider, model), {})
        spans.setdefault(int(at), Counter())[number] += int(calls)
    return found


def forget(session: Session, moment: datetime) -> None:
    """Delete the slots that are old."""
    minute = micros(moment) // MINUTE_US
    for width, kept in KEPT.items():
        session.execute(delete(Spread).where(Spread.width == width, Spread.minute < minute - kept))
