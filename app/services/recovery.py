"""Getting back into an account: a token by mail, and the password chosen with it."""

from __future__ import annotations

import time

from app.http import transact
from app.runtime import runtime
from app.security import passwords
from app.services import mail, one_time, people, sessions

# Longer than looking an account up and writing a mail takes: the time must not tell whether there is one.
TAKES_S = 0.15


def mail_token(email: str) -> None:
    """Mail a token to whoever has an active account, in the same time as when nobody has. Own transaction."""
    ready = time.monotonic() + TAKES_S
    with transact():
        known = people.find(email)
        user = sessions.held(known.id) if known else None
        if user and user.is_active:
            mail.send_reset(user, one_time.issue(user.id, one_time.RESET, runtime().secrets))
    time.sleep(max(0.0, ready - time.monotonic()))


def choose_password(token: str, password: str) -> None:
    """Store the password of who holds a reset token, and end their sessions; a 410 Problem for a token not in force.

    Own transactions: hashing takes longer than a lock may be held, and a token that is worth nothing gets none.
    """
    secrets = runtime().secrets
    with transact(write=False):
        if one_time.owner(token, one_time.RESET, secrets) is None:
            raise people.gone()
    hashed = passwords.hashed(password)
    with transact():
        people.reset_password(token, hashed, secrets)
