"""Events of model calls: announced where traces are stored, in that transaction, so that no call waits for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import func, select

from app.gateway.findings import FOUND
from app.security.redact import redact
from app.services.trace_record import TraceRecord
from app.services.vault.closing import plain
from app.services.webhooks import violations
from app.services.webhooks.events import announce
from models.base import session
from models.traces import UsageDay

Json = dict[str, Any]
Cause = tuple[str, str, str, int]
REAL: Final = "real"
# A caller who hung up is no failure anybody could mend.
CLIENT_GONE: Final = 499
MOST_CAUSES: Final = 20
MOST_NAMED: Final = 10
LONGEST_ERROR: Final = 300
MILESTONES: Final = (100, 500, 1_000, 5_000)
# By its last row's number a table has more traces than the last milestone by far, and need not be counted.
PAST_ALL: Final = 50_000


def tell(rows: Sequence[TraceRecord], before: int) -> None:
    """Announce what newly stored calls are worth being told of; `before` is the last row's number before them."""
    if rows and before < PAST_ALL:
        _tell_milestones(len(rows))
    causes = _by_cause(row for row in rows if row.status == "error" and row.source == REAL)
    for failed in list(causes.values())[:MOST_CAUSES]:
        announce("trace.error", _failure(failed))
    if rest := [row for failed in list(causes.values())[MOST_CAUSES:] for row in failed]:
        announce("trace.error", {"count": len(rest), "error": f"{len(causes) - MOST_CAUSES} further causes"})
    if found := [row for row in rows if FOUND in row.details and row.source == REAL]:
        violations.tell(found)


def _by_cause(rows: Iterable[TraceRecord]) -> dict[Cause, list[TraceRecord]]:
    causes: dict[Cause, list[TraceRecord]] = {}
    for row in rows:
        if row.http_status != CLIENT_GONE:
            causes.setdefault((row.provider, row.model, row.operation, row.http_status), []).append(row)
    return causes


def _failure(rows: Sequence[TraceRecord]) -> Json:
    first = rows[0]
    return {
        "count": len(rows),
        "provider": first.provider,
        "model": first.model,
        "operation": first.operation,
        "http_status": first.http_status,
        "error": redact(plain(first.error))[:LONGEST_ERROR],
        "project": first.project,
        "user_id": first.user_id,
        "request_id": first.request_id,
        "trace_ids": [row.id for row in rows[:MOST_NAMED]],
    }


def _tell_milestones(new: int) -> None:
    """The days' sums only ever grow, and hold these calls already: each milestone is passed once."""
    total = int(session().scalar(select(func.sum(UsageDay.requests))) or 0)
    for milestone in MILESTONES:
        if total - new < milestone <= total:
            told = {"title": f"{milestone} calls recorded", "message": f"This gateway has recorded {milestone} calls."}
            announce(f"upgrade.trace_milestone_{milestone}", told | {"details": {"traces": total}})
