"""People's SSH keys, for every box they can reach."""

from __future__ import annotations

from sqlalchemy import Select, delete, func, select
from sqlalchemy.exc import IntegrityError

from app.problems import conflict, not_found
from app.security.ssh_keys import read_public_key
from models.base import session
from models.sessions import SshKey

MOST_KEYS = 100


def of_user(user_id: int) -> Select[SshKey]:
    """A user's keys."""
    return select(SshKey).where(SshKey.user_id == user_id)


def add(user_id: int, name: str, text: str) -> SshKey:
    """Store a key, checked by the document; Problem 409 when somebody has it already."""
    line, fingerprint = read_public_key(text)
    if (session().scalar(select(func.count()).select_from(of_user(user_id).subquery())) or 0) >= MOST_KEYS:
        raise conflict(f"An account has {MOST_KEYS} SSH keys at most; delete one first")
    row = SshKey(user_id=user_id, name=name, public_key=line, fingerprint=fingerprint)
    try:
        with session().begin_nested():
            session().add(row)
    except IntegrityError:
        raise conflict("An SSH key with this publicKey exists", field="publicKey") from None
    return row


def remove(user_id: int, uid: str) -> None:
    """Forget a key; a 404 Problem when it is not this user's."""
    gone = delete(SshKey).where(SshKey.user_id == user_id, SshKey.uid == uid.lower())
    if session().execute(gone.returning(SshKey.id)).first() is None:
        raise not_found("SSH key")
