"""Approvals as operators give them: who waits, a decision that is final, and an end for what nobody holds any more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Engine, Select, delete, select, update
from sqlalchemy.orm import joinedload

from app.engine import Context
from app.problems import Problem, conflict, not_found
from app.services import audit
from app.services.held_calls import ended
from app.services.trust import ledger
from models.approvals import ABANDONED, APPROVED, REJECTED, WAITING, HeldCall
from models.base import now, session, transaction

LAPSE_EVERY_S: Final = 5.0
MOST_KEPT: Final = 100_000
ACTS: Final = {APPROVED: "approve", REJECTED: "reject"}


def find(status: str | None) -> Select[HeldCall]:
    """The calls that were held, or those of which this became."""
    found = select(HeldCall).options(joinedload(HeldCall.user))
    return found.where(HeldCall.status == status) if status else found


def get(number: int) -> HeldCall:
    """The call of that number, as it is now; Problem 404."""
    asked = find(None).where(HeldCall.id == number).execution_options(populate_existing=True)
    found = session().scalar(asked)
    if found is None:
        raise not_found("The approval")
    return found


def decide(number: int, status: str, note: str) -> HeldCall:
    """Approve or reject a call that waits; Problem 404, or 409 for one that does not. Of two at once one decides."""
    decision = ended(status) | {"decided_by": ledger.caller(), "note": note}
    waits = (HeldCall.id == number, HeldCall.status == WAITING, HeldCall.alive_until > now())
    taken = session().scalar(update(HeldCall).where(*waits).values(decision).returning(HeldCall.id))
    row = get(number)
    if taken is None:
        raise _too_late(row)
    audit.note(f"approval.{ACTS[status]}", "approval", str(number), project=row.project, model=row.model)
    return row


def _too_late(row: HeldCall) -> Problem:
    """Why nobody can decide any more; one that waits by its status alone was left by a dead worker."""
    status = ABANDONED if row.status == WAITING else row.status
    return conflict(f"The call waits no more: it is {status}", status=status)


class Lapse:
    """The engine's turn that gives up the calls of workers that died, whether the module is on or not."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, _context: Context) -> None:
        """Mark them abandoned."""
        dead = (HeldCall.status == WAITING, HeldCall.alive_until <= now())
        with transaction(self._engine, write=False) as opened:
            if opened.scalar(select(HeldCall.id).where(*dead).limit(1)) is None:
                return
        with transaction(self._engine) as opened:
            opened.execute(update(HeldCall).where(*dead).values(ended(ABANDONED)))


class Sweep:
    """The engine's turn that deletes calls as old as traces get, and the oldest of too many; none that waits."""

    def __init__(self, engine: Engine, days: Callable[[], int], most: int = MOST_KEPT) -> None:
        self._engine, self._days, self._most = engine, days, most

    def __call__(self, _context: Context) -> None:
        """Delete them."""
        over: Any = HeldCall.status != WAITING
        beyond = select(HeldCall.id).order_by(HeldCall.id.desc()).offset(self._most).limit(1)
        with transaction(self._engine) as opened:
            if days := self._days():
                opened.execute(delete(HeldCall).where(over, HeldCall.created_at < now() - timedelta(days=days)))
            if (newest := opened.scalar(beyond)) is not None:
                opened.execute(delete(HeldCall).where(over, HeldCall.id <= newest))
