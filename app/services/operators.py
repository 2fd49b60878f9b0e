"""Who may use this server and who operates it: accounts found, switched on and off, raised and lowered."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, select

from app.problems import conflict, not_found
from app.services import accounts, audit, one_time, sessions
from app.services.revisions import bump
from models.base import session
from models.identity import User

ORDERS: dict[str, ColumnElement[Any]] = {
    "created_at": User.id.expression,
    "email": User.email.expression,
    "last_login_at": User.last_login_at.expression,
}


def find(q: str | None, sort: str, *, descending: bool = True, **states: bool | None) -> Select[User]:
    """Users whose address or name holds `q`, in these states (`is_admin`, `is_active`, `email_verified`), in order.

    Who never signed in comes last, whichever end comes first.
    """
    found = accounts.find_users(q=q)
    for name, wanted in states.items():
        found = found if wanted is None else found.where(getattr(User, name).is_(wanted))
    orders = (ORDERS[sort], User.id.expression)
    return found.order_by(*(order.desc().nulls_last() if descending else order.asc().nulls_last() for order in orders))


def change(user_id: int, *, is_active: bool | None = None, is_admin: bool | None = None) -> User:
    """Put an account into these states, from the next request on; Problem 404, or 409 for the last active operator.

    Somebody switched off is signed out everywhere, and no token mailed to them works any more.
    """
    operators = hold_operators() if False in {is_active, is_admin} else set()
    user = sessions.held(user_id)
    if user is None:
        raise not_found("User")
    if operators == {user_id}:
        raise last_operator()
    if is_active is False:
        _shut_out(user)
    user.is_active = user.is_active if is_active is None else is_active
    user.is_admin = user.is_admin if is_admin is None else is_admin
    audit.note("user.update", "user", user.uid, is_active=user.is_active, role="admin" if user.is_admin else "user")
    bump()
    return user


def hold_operators() -> set[int]:
    """The active operators, held until the transaction ends: of two who leave at once, the second sees the first go.

    Hold them before any other user, and in the order of their ids.
    """
    active = select(User.id).where(User.is_admin, User.is_active).order_by(User.id)
    return set(session().scalars(active.with_for_update(key_share=True)))


def last_operator() -> Exception:
    """409: without this account nobody could operate the server from a browser."""
    return conflict("This is the last active admin; make somebody else one first")


def _shut_out(user: User) -> None:
    sessions.end_all(user.id, sessions.DEACTIVATED)
    for purpose in one_time.LIFETIMES:
        one_time.void(user.id, purpose)
