"""Trust policies as an operator keeps them: made, changed, switched and removed, in force within a second."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Select, func, select

from app.problems import conflict, not_found
from app.services import audit, revisions
from app.services.trust import forms, ledger
from models.base import session
from models.gateway import Revision
from models.trust import TrustPolicy

Json = dict[str, Any]
MOST_POLICIES: Final = 200
SAID: Final = ("type", "rules", *forms.LIMITS)
DONE: Final = {"create": "created", "update": "updated", "delete": "deleted"}


def find() -> Select[TrustPolicy]:
    """The policies, in the order they apply."""
    return select(TrustPolicy).order_by(TrustPolicy.id)


def get(number: int) -> TrustPolicy:
    """The policy of that number; Problem 404."""
    found = session().get(TrustPolicy, number)
    if found is None:
        raise not_found("The policy")
    return found


def create(body: Json) -> TrustPolicy:
    """Make a policy, in force within a second everywhere; Problem 400, or 409 for a name in use or too many."""
    fields = forms.columns(body)
    forms.require_whole(fields)
    _take_turn()
    _require_free(fields["name"])
    if (session().scalar(select(func.count()).select_from(TrustPolicy)) or 0) >= MOST_POLICIES:
        raise conflict(f"There are {MOST_POLICIES} policies already")
    policy = TrustPolicy(**fields)
    session().add(policy)
    _changed(policy, "create")
    return policy


def change(number: int, body: Json) -> TrustPolicy:
    """Change a policy; Problem 400, 404, or 409 for a name in use."""
    fields = forms.columns(body)
    _take_turn()
    policy = get(number)
    forms.require_whole({name: getattr(policy, name) for name in SAID} | fields)
    if fields.get("name", policy.name) != policy.name:
        _require_free(fields["name"])
    for name, value in fields.items():
        setattr(policy, name, value)
    _changed(policy, "update")
    return policy


def remove(number: int) -> None:
    """Remove a policy; Problem 404."""
    _take_turn()
    policy = get(number)
    session().delete(policy)
    _changed(policy, "delete")


def _take_turn() -> None:
    """Wait for others who change settings, so that two policies of one name cannot be made at once."""
    session().execute(select(Revision.number).with_for_update()).one()


def _changed(policy: TrustPolicy, act: str) -> None:
    session().flush()
    audit.note(f"policy.{act}", "policy", str(policy.id), name=policy.name)
    said = {name: getattr(policy, name) for name in ("id", "type", "enabled")}
    ledger.note(f"policy_{DONE[act]}", policy.name, **said)
    revisions.bump()


def _require_free(name: str) -> None:
    if session().scalar(select(TrustPolicy.id).where(TrustPolicy.name == name)) is not None:
        raise conflict("There is a policy of that name already", name=name)
