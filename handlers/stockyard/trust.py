"""Trust: policies on model calls, the ledger, evidence, and feedback on answers."""

from __future__ import annotations

from typing import Any

from app.http import Answer, created, page
from app.services.trust import evidence, feedback, ledger, policies, status
from app.wire.moments import moment
from app.wire.pages import Listing
from models.trust import LedgerEntry, TrustEvidence, TrustFeedback
from models.views.trust import LedgerEntryView, TrustEvidenceView, TrustFeedbackView, TrustPolicyView

Json = dict[str, Any]

show_policy = TrustPolicyView().dump
show_entry = LedgerEntryView().dump
show_pack = TrustEvidenceView().dump
show_feedback = TrustFeedbackView().dump


def list_trust_policies(limit: int, offset: int) -> Json:
    """Policies, in the order they apply."""
    return page(Listing(policies.find(), "policies", show_policy), limit=limit, offset=offset)


def create_trust_policy(body: Json) -> Answer:
    """Make a policy."""
    policy = policies.create(body)
    return created({"status": "created"} | show_policy(policy), f"/api/trust/policies/{policy.id}")


def get_trust_policy(id_: int) -> Json:
    """One policy."""
    shown: Json = show_policy(policies.get(id_))
    return shown


def update_trust_policy(id_: int, body: Json) -> Json:
    """Change a policy."""
    shown: Json = show_policy(policies.change(id_, body))
    return {"status": "updated"} | shown


def delete_trust_policy(id_: int) -> Json:
    """Remove a policy."""
    policies.remove(id_)
    return {"status": "deleted"}


def list_ledger(from_: str | None, to: str | None, limit: int, offset: int, cursor: str | None, **equal: Any) -> Json:
    """Entries, newest first, and whether the newest follow from one another."""
    filters = ledger.Filters(since=moment(from_) if from_ else None, until=moment(to) if to else None, **equal)
    listing = Listing(ledger.find(filters), "events", show_entry, (LedgerEntry.id,))
    return page(listing, limit=limit, offset=offset, cursor=cursor) | {"chain_valid": ledger.tail_holds()}


def append_to_ledger(body: Json) -> Answer:
    """Add an entry."""
    actor = body.get("actor") or ledger.caller()
    told = ledger.Event(body["event_type"], body["action"], actor, body.get("resource", ""), body.get("detail"))
    (row,) = ledger.append(told)
    return Answer({"status": "appended"} | {name: row[name] for name in ("id", "hash", "prev_hash")})


def verify_ledger() -> Json:
    """Whether every entry follows from the one before it."""
    found = ledger.verified()
    told = {"valid": found.broken_at is None, "events_checked": found.checked, "last_hash": found.last_hash}
    return told | ({} if found.broken_at is None else {"broken_at_id": found.broken_at})


def list_evidence(limit: int, offset: int, cursor: str | None) -> Json:
    """Packs of evidence, newest first."""
    listing = Listing(evidence.find(), "packs", show_pack, (TrustEvidence.number,))
    return page(listing, limit=limit, offset=offset, cursor=cursor)


def submit_evidence(body: Json) -> Answer:
    """Make a pack of evidence."""
    return Answer(show_pack(evidence.submit(body)))


def list_feedback(request_id: str | None, limit: int, offset: int, cursor: str | None) -> Json:
    """Feedback, newest first."""
    listing = Listing(feedback.find(request_id), "feedback", show_feedback, (TrustFeedback.id,))
    return page(listing, limit=limit, offset=offset, cursor=cursor)


def submit_feedback(body: Json) -> Answer:
    """Give feedback on an answer."""
    return Answer({"status": "submitted", "id": feedback.submit(body).id})


def get_trust_status() -> Json:
    """How much there is, and whether the ledger's newest entries hold."""
    return status.told()
