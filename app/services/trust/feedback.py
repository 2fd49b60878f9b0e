"""Feedback on answers: given with the key of whoever asked, or by an operator for somebody."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Select, or_, select

from app.problems import forbidden, not_found
from app.services import people
from app.services.trust import ledger
from app.wire.call import current
from models.base import session
from models.identity import User
from models.traces import Trace
from models.trust import TrustFeedback

Json = dict[str, Any]
EVENT: Final = "feedback"
MOST_CALLS: Final = 100


def find(request_id: str | None) -> Select[TrustFeedback]:
    """What was said of a request, or of all."""
    found = select(TrustFeedback)
    return found.where(TrustFeedback.request_id == request_id) if request_id else found


def submit(body: Json) -> TrustFeedback:
    """Store it, and that it was given; Problem 403 for who speaks for another, 404 for who did not ask.

    A call that is not recorded yet may be spoken of, for its answer may be read before that.
    """
    named = body.get("request_id") or body["trace_id"]
    user, address = _speaker(body.get("user_email"))
    if user is not None:
        _require_own(named, user)
    said = {name: body[name] for name in ("rating", "comment", "tags") if name in body}
    row = TrustFeedback(request_id=named, user_id=user.id if user else None, user_email=address, **said)
    session().add(row)
    session().flush()
    told = {"feedback_id": row.id, "rating": row.rating}
    ledger.append(ledger.Event(EVENT, "submitted", ledger.caller(), named, told))
    return row


def _speaker(named: str | None) -> tuple[User | None, str | None]:
    """Whose feedback it is, and their address: a user's own, or whom an operator names."""
    who = current().principal
    if who.is_admin or who.user_id is None:
        return None, named.strip().lower() if named else None
    user = people.calling(who.user_id)
    if named and named.strip().lower() != user.email:
        raise forbidden("Feedback for somebody else is an operator's to give")
    return user, user.email


def _require_own(named: str, user: User) -> None:
    """A call of that name that is another's is nobody's else to speak of."""
    calls = select(Trace.user_id).where(or_(Trace.request_id == named, Trace.id == named)).limit(MOST_CALLS)
    owners = set(session().scalars(calls))
    if owners and user.id not in owners:
        raise not_found("The call")
