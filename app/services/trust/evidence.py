"""Packs of evidence: what the ledger held of a span of time, sealed by hashes, with what else an auditor is given."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, time
from hashlib import sha256
from typing import Any, Final

import orjson
from sqlalchemy import Select, select

from app.problems import Problem
from app.services.trust import ledger
from app.wire.moments import EARLIEST, moment
from models.base import now, session
from models.trust import LedgerEntry, TrustEvidence
from models.views.fields import rfc3339

Json = dict[str, Any]
DAY: Final = 10
BATCH: Final = 1_000
GIVEN: Final = ("name", "description", "type", "content", "attachments")


def find() -> Select[TrustEvidence]:
    """The packs."""
    return select(TrustEvidence)


def submit(body: Json) -> TrustEvidence:
    """Make a pack of what the ledger holds of the span, and enter it in the ledger; Problem 422 for an empty span.

    A span ends now at the latest: what is entered later is in no pack that was made before.
    """
    ledger.hold()
    present = now()
    begins = _bound(body.get("date_from"), time.min) or _first() or present
    ends = min(_bound(body.get("date_to"), time.max) or present, present)
    if begins > ends:
        raise Problem(422, "date_from must not be after date_to, nor after now")
    count, digest = _covered(begins, ends)
    given: Json = {"description": "", "type": "", "content": "", "attachments": []}
    given |= {name: body[name] for name in GIVEN if name in body}
    pack = TrustEvidence(id=f"ep_{secrets.token_hex(12)}", date_from=begins, date_to=ends, created_at=present, **given)
    pack.event_count, pack.entries_hash = count, digest
    pack.hash = sealed(_shown(pack))
    session().add(pack)
    session().flush()
    ledger.note("evidence_generated", pack.id, event_count=count, hash=pack.hash)
    return pack


def _bound(text: str | None, at: time) -> datetime | None:
    """A moment, or the beginning or end of a day."""
    if text is None:
        return None
    if len(text) > DAY:
        return moment(text)
    return EARLIEST if text.startswith("0000") else datetime.combine(datetime.fromisoformat(text), at, UTC)


def _first() -> datetime | None:
    return session().scalar(select(LedgerEntry.created_at).order_by(LedgerEntry.id).limit(1))


def _covered(begins: datetime, ends: datetime) -> tuple[int, str]:
    """How many entries the span has, and the hash of their hashes, one to a line."""
    columns = (LedgerEntry.id, LedgerEntry.hash)
    span = select(*columns).where(LedgerEntry.created_at >= begins, LedgerEntry.created_at <= ends)
    count, digest, last = 0, sha256(), 0
    while rows := session().execute(span.where(LedgerEntry.id > last).order_by(LedgerEntry.id).limit(BATCH)).all():
        digest.update("".join(f"{row.hash}\n" for row in rows).encode())
        count, last = count + len(rows), rows[-1].id
    return count, digest.hexdigest()


def _shown(pack: TrustEvidence) -> Json:
    spans = {name: rfc3339(getattr(pack, name), "microseconds") for name in ("date_from", "date_to")}
    return {name: getattr(pack, name) for name in ("id", *GIVEN, "event_count", "entries_hash")} | spans


def sealed(shown: Mapping[str, Any]) -> str:
    """The hash of a pack: of the compact JSON object of these fields, as they are shown, with sorted keys."""
    names = ("id", *GIVEN, "date_from", "date_to", "event_count", "entries_hash")
    told = {name: shown[name] for name in names}
    return sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()
