"""Broken policies, into the ledger: an entry for each policy that a call broke, where the call is stored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from app.gateway.findings import ENFORCER, FOUND, INPUT, POLICY
from app.services.trace_record import TraceRecord
from app.services.trust.ledger import Event, append

Json = dict[str, Any]
VIOLATION: Final = "policy_violation"
PROXY: Final = "proxy"
REAL: Final = "real"


def record(rows: Iterable[TraceRecord]) -> None:
    """Add what these calls broke; they are new, so nothing is told twice. Nothing of a text is in it."""
    broken = [(row, one) for row in rows if row.source == REAL for one in row.details.get(FOUND, ())]
    events = [_event(row, one) for row, one in broken if one["type"] == POLICY]
    if events:
        append(*events)


def _event(row: TraceRecord, one: Json) -> Event:
    direction = "request" if one["direction"] == INPUT else "response"
    told = {"policy": one["rule"].removeprefix(f"{ENFORCER}."), "direction": direction, "matches": one["matches"]}
    told |= {"project": row.project, "trace_id": row.id, "request_id": row.request_id}
    return Event(VIOLATION, one["action"], PROXY, row.model, told)
