"""The chained log of exchanges: written with the traces, checked and pruned by the engine.

Each entry's hash is SHA-256 of the hash before it, its number and its content, so that whoever changes, removes or
inserts an entry breaks the chain there. The last hash stands beside the log: whoever keeps a copy of it elsewhere can
tell that even the newest entries are all there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from hashlib import sha256
from typing import Any, ClassVar, Final

import orjson
from sqlalchemy import Engine, delete, insert, select
from sqlalchemy.orm import Session

from app.engine import Context
from app.security.redact import redact
from app.services.observing import alerts
from app.services.observing.alerts import Reason
from app.services.observing.switched import Settings, settings_of
from app.services.trace_record import TraceRecord
from app.services.vault.closing import is_sealed, words
from models.base import EPOCH, now, transaction
from models.observing import ExchangeChain, LoggedExchange
from models.views.fields import rfc3339

Json = dict[str, Any]
NAME: Final = "compliancelog"
ONLY: Final = 1
BATCH: Final = 500
PAUSE_S: Final = 0.02
DAY_S: Final = 86_400.0
BODIES: Final = ("request_body", "response_body")


def linked(before: str, number: int, content: bytes) -> str:
    """The hash of an entry."""
    return sha256(b"%b\n%d\n%b" % (before.encode(), number, content)).hexdigest()


def append(session: Session, settings: Settings, rows: Iterable[TraceRecord]) -> None:
    """Add these calls at the end, in their order; they are stored in this transaction, or not at all."""
    chain = _chain(session)
    found = []
    for row in rows:
        content = _content(row, settings)
        chain.number, chain.hash = chain.number + 1, linked(chain.hash, chain.number + 1, content)
        moment = EPOCH + timedelta(microseconds=row.created_at)
        told = {"number": chain.number, "trace_id": row.id, "created_at": moment}
        found.append(told | {"hash": chain.hash, "content": content})
    if found:
        session.execute(insert(LoggedExchange), found)
        session.flush()


def _chain(session: Session) -> ExchangeChain:
    """The log's ends, held until the transaction is over: only one writer at a time."""
    chain = session.get(ExchangeChain, ONLY, with_for_update=True)
    if chain is None:
        chain = ExchangeChain(id=ONLY, number=0, hash="", pruned_number=0, pruned_hash="")
        session.add(chain)
        session.flush()
    return chain


def _content(row: TraceRecord, settings: Settings) -> bytes:
    """The exchange as canonical JSON; what looks like a key is hidden before it is hashed, what is sealed stays so."""
    told: Json = row._asdict() | {"tags": dict(row.tags), "details": dict(row.details)}
    for name in BODIES:
        body = told.pop(name)
        if body is not None and settings["include_bodies"]:
            hides = settings["redact_keys"] and not is_sealed(body)
            told[name] = redact(words(body)) if hides else words(body)
    return orjson.dumps(told, option=orjson.OPT_SORT_KEYS)


def broken(entries: Sequence[LoggedExchange], before: str, number: int) -> int | None:
    """The first of these entries that does not follow from the one before it, which had this hash and number."""
    for entry in entries:
        number += 1
        if entry.number != number or entry.hash != linked(before, number, entry.content):
            return number
        before = entry.hash
    return None


class Keeping:
    """The engine's turn that deletes what is past its age, then walks the whole chain."""

    EVERY_S: ClassVar[float] = 6 * 3_600.0

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, context: Context) -> None:
        """Prune, check, and raise an alert where the chain is broken."""
        with transaction(self._engine, write=False) as session:
            if session.get(ExchangeChain, ONLY) is None:
                return
            days = settings_of(session, NAME)["retention_days"]
        while prune(self._engine, days):
            context.pause(PAUSE_S)
        found: int | None = None
        for at in self._walk():
            found = at
            context.pause(PAUSE_S)
        self._note(found)

    def _walk(self) -> Iterator[int | None]:
        """Batch by batch to the end the chain had at first: None while it holds, else the number where it breaks."""
        with transaction(self._engine, write=False) as session:
            chain = session.get_one(ExchangeChain, ONLY)
            number, before, last, last_hash = chain.pruned_number, chain.pruned_hash, chain.number, chain.hash
        while number < last:
            after = select(LoggedExchange).where(LoggedExchange.number > number, LoggedExchange.number <= last)
            with transaction(self._engine, write=False) as session:
                entries = session.scalars(after.order_by(LoggedExchange.number).limit(BATCH)).all()
                at = broken(entries, before, number)
            if at is not None or not entries:
                yield at or number + 1
                return
            number, before = entries[-1].number, entries[-1].hash
            yield None
        if before != last_hash:
            yield last

    def _note(self, at: int | None) -> None:
        with transaction(self._engine) as session:
            chain = _chain(session)
            chain.checked_at, chain.broken_at = now(), at
            if at is not None:
                said = f"Entry {at} of the log of exchanges does not follow from the one before it."
                alerts.fire(session, Reason(NAME, "broken_chain", "entry", at, 0, said), DAY_S)


def prune(engine: Engine, days: int) -> int:
    """Delete a batch of the entries past their age, oldest first, and remember where the rest begins; how many went."""
    limit = now() - timedelta(days=days)
    with transaction(engine) as session:
        chain = _chain(session)
        columns = (LoggedExchange.number, LoggedExchange.hash, LoggedExchange.created_at)
        oldest = select(*columns).where(LoggedExchange.number > chain.pruned_number)
        gone = 0
        for number, own, created_at in session.execute(oldest.order_by(LoggedExchange.number).limit(BATCH)).all():
            if created_at >= limit:
                break
            chain.pruned_number, chain.pruned_hash, gone = number, own, gone + 1
        session.execute(delete(LoggedExchange).where(LoggedExchange.number <= chain.pruned_number))
    return gone


def stats(session: Session) -> Json:
    """How many entries there are, the last hash, and what the last check of the whole chain found."""
    chain = session.get(ExchangeChain, ONLY)
    if chain is None:
        return {"entries": 0}
    told: Json = {"entries": chain.number - chain.pruned_number, "first": chain.pruned_number + 1, "last": chain.number}
    told |= {"last_hash": chain.hash, "checked_at": chain.checked_at and rfc3339(chain.checked_at)}
    return told | {"valid": None if chain.checked_at is None else chain.broken_at is None, "broken_at": chain.broken_at}
