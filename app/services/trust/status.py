"""What there is of trust, counted."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select

from app.services.trust import ledger
from models.base import Base, session
from models.trust import TrustEvidence, TrustFeedback, TrustPolicy

Json = dict[str, Any]


def told() -> Json:
    """The counts, and whether the last hundred entries of the ledger hold."""
    counted = {"policies": _rows(TrustPolicy), "feedback_count": _rows(TrustFeedback), "evidence": _rows(TrustEvidence)}
    chain = {"ledger_events": ledger.count(), "chain_valid": ledger.tail_holds()}
    return {"app": "trust", "status": "running"} | chain | counted


def _rows(table: type[Base]) -> int:
    return session().scalar(select(func.count()).select_from(table)) or 0
