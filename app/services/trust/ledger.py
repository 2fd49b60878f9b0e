"""The ledger: entries that are only ever added, each chained to the one before it by its hash.

A hash is SHA-256 of the compact JSON array of the hash before, the number and every field as the API shows them.
Whoever changes, removes or inserts an entry breaks the chain there, and anybody can check it without this server. The
last hash stands beside the ledger too, so that entries missing at its end are found as well, unless that was changed
with them: this a copy of it kept elsewhere tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import Row, Select, func, insert, select

from app.problems import Issue, invalid
from app.wire.call import current
from models.base import now, session
from models.trust import LedgerChain, LedgerEntry
from models.views.fields import rfc3339

Json = dict[str, Any]
ONLY: Final = 1
BATCH: Final = 1_000
TAIL: Final = 100
ADMIN_ACTION: Final = "admin_action"
COLUMNS: Final = tuple(LedgerEntry.__table__.columns)


class Event(NamedTuple):
    """What an entry tells: of which kind, who did what to what, and anything JSON can say of it."""

    event_type: str
    action: str
    actor: str
    resource: str = ""
    detail: Any = None


@dataclass(frozen=True, slots=True)
class Filters:
    """Which entries; moments are both included."""

    event_type: str | None = None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a walk found: how many entries hold, the first that does not, and the hash of the last that does."""

    checked: int
    broken_at: int | None
    last_hash: str


def append(*events: Event) -> list[Json]:
    """Add entries at the end, in the transaction at hand; all others who add wait until it is over. Their columns."""
    chain = hold()
    rows = []
    for event in events:
        row = event._asdict() | {"id": chain.number + 1, "prev_hash": chain.hash, "created_at": now()}
        row["detail"] = _text({} if event.detail is None else event.detail)
        row["hash"] = linked(row)
        chain.number, chain.hash = row["id"], row["hash"]
        rows.append(row)
    if rows:
        session().execute(insert(LedgerEntry), rows)
        session().flush()
    return rows


def hold() -> LedgerChain:
    """The ledger's end, held until the transaction is over: what was added before is seen, and nothing is added."""
    return session().get_one(LedgerChain, ONLY, with_for_update=True, populate_existing=True)


def note(action: str, resource: str, **detail: Any) -> None:
    """Add what the calling operator did."""
    append(Event(ADMIN_ACTION, action, caller(), resource, detail))


def caller() -> str:
    """The caller, as entries name them."""
    who = current().principal
    return f"user:{who.user_id}" if who.user_id is not None else who.kind


def _text(detail: Any) -> str:
    try:
        return orjson.dumps(detail, option=orjson.OPT_SORT_KEYS).decode()
    except orjson.JSONEncodeError:
        raise invalid(Issue(("body", "detail"), "format", "value that is not nested as deep")) from None


def linked(row: Json) -> str:
    """The hash of an entry."""
    told = [row[name] for name in ("prev_hash", "id", "event_type", "actor", "resource", "action")]
    detail, moment = orjson.Fragment(row["detail"]), rfc3339(row["created_at"], "microseconds")
    return sha256(orjson.dumps([*told, detail, moment])).hexdigest()


def find(filters: Filters) -> Select[LedgerEntry]:
    """Entries that pass every filter given."""
    found = select(LedgerEntry)
    if filters.event_type:
        found = found.where(LedgerEntry.event_type == filters.event_type)
    if filters.actor:
        found = found.where(LedgerEntry.actor == filters.actor)
    if filters.since:
        found = found.where(LedgerEntry.created_at >= filters.since)
    return found.where(LedgerEntry.created_at <= filters.until) if filters.until else found


def count() -> int:
    """How many entries there are, by the ledger's end."""
    return session().get_one(LedgerChain, ONLY).number


def verified() -> Verdict:
    """Walk the whole ledger, from the first entry to the end."""
    return _walked(0, "")


def tail_holds() -> bool:
    """Whether the last hundred entries follow from one another, up to the end."""
    start = max(0, count() - TAIL)
    before = session().scalar(select(LedgerEntry.hash).where(LedgerEntry.id == start)) if start else ""
    return before is not None and _walked(start, before).broken_at is None


def _walked(number: int, before: str) -> Verdict:
    """From the entry after this number and hash. Entries added meanwhile are passed over."""
    last = session().scalar(select(func.max(LedgerEntry.id))) or 0
    chain = session().get_one(LedgerChain, ONLY, populate_existing=True)
    end, end_hash, start = chain.number, chain.hash, number
    while number < end:
        batch = select(*COLUMNS).where(LedgerEntry.id > number, LedgerEntry.id <= end)
        rows = session().execute(batch.order_by(LedgerEntry.id).limit(BATCH)).all()
        held = _holding(rows, number, before)
        if held:
            number, before = rows[held - 1].id, rows[held - 1].hash
        if held < len(rows) or not rows:
            return Verdict(number - start, number + 1, before)
    if before != end_hash or last > end:
        return Verdict(number - start, max(1, end) if before != end_hash else end + 1, before)
    return Verdict(number - start, None, before)


def _holding(rows: Sequence[Row[Any]], number: int, before: str) -> int:
    """How many of these entries, from the first on, follow from the one before them."""
    for place, row in enumerate(rows):
        told = row._asdict()
        if row.id != number + 1 or row.prev_hash != before or row.hash != linked(told):
            return place
        number, before = row.id, row.hash
    return len(rows)
