"""Guardrails' events: made of what traces tell, in the recorder's transaction, and deleted with age."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from app.engine import Context
from app.gateway.findings import FOUND
from app.services.trace_record import TraceRecord
from models.base import EPOCH, now, transaction
from models.guardrails import GuardrailCount, GuardrailEvent

MOST_EVENTS = 100_000
EVERY_S = 3_600.0
LENGTHS = {"rule_name": 100, "rule_type": 10, "action": 10, "direction": 10, "preview": 16}


def record(connection: Connection, rows: Iterable[TraceRecord]) -> None:
    """Store what these calls' guardrails found; they are new, so nothing is counted twice."""
    events = [event for row in rows if FOUND in row.details for event in _events(row)]
    if not events:
        return
    connection.execute(insert(GuardrailEvent), events)
    hits: Counter[tuple[str, str]] = Counter()
    for event in events:
        hits[event["rule_name"], event["action"]] += event["matches"]
    dialect = {"postgresql": postgresql, "sqlite": sqlite}[connection.dialect.name]
    added = dialect.insert(GuardrailCount)
    added = added.on_conflict_do_update(
        index_elements=["rule_name", "action"], set_={"hits": GuardrailCount.hits + added.excluded.hits}
    )
    connection.execute(added, [{"rule_name": n, "action": a, "hits": hits[n, a]} for n, a in sorted(hits)])


def _events(row: TraceRecord) -> Iterable[dict[str, Any]]:
    for found in row.details[FOUND]:
        told = {"rule_name": found["rule"], "rule_type": found["type"], "preview": found.get("preview", "")}
        told |= {name: found[name] for name in ("action", "direction")}
        yield {
            **{name: text.replace("\0", "")[: LENGTHS[name]] for name, text in told.items()},
            "created_at": EPOCH + timedelta(microseconds=row.created_at),
            "trace_id": row.id,
            "request_id": row.request_id,
            "project": row.project,
            "model": row.model,
            "matches": found["matches"],
        }


class Sweep:
    """The engine's turn that deletes events as old as traces get, and the oldest of too many."""

    def __init__(self, engine: Engine, days: Callable[[], int], most: int = MOST_EVENTS) -> None:
        self._engine = engine
        self._days = days
        self._most = most

    def __call__(self, _context: Context) -> None:
        """Delete them."""
        beyond = select(GuardrailEvent.id).order_by(GuardrailEvent.id.desc()).offset(self._most).limit(1)
        with transaction(self._engine) as session:
            old = GuardrailEvent.created_at < now() - timedelta(days=self._days())
            session.execute(delete(GuardrailEvent).where(old))
            if (newest := session.scalar(beyond)) is not None:
                session.execute(delete(GuardrailEvent).where(GuardrailEvent.id <= newest))
