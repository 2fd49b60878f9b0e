"""Mail: what is said to people, put into the outbox in the transaction that gives the reason for it."""

from __future__ import annotations

import re

from sqlalchemy import Select, select

from app.runtime import runtime
from models.base import session
from models.identity import User
from models.mail import Mail

CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")


def queue(recipient: str, subject: str, body: str, kind: str) -> None:
    """Hand over one mail; it is sent once the transaction is committed, or kept when no mail server is configured."""
    status = "queued" if runtime().settings.smtp_url else "kept"
    line = CONTROLS.sub(" ", subject).strip()[:300]
    session().add(Mail(recipient=recipient, subject=line, body=body, kind=kind, status=status))


def outbox(recipient: str | None = None) -> Select[Mail]:
    """Mails, newest first; to one address when given."""
    found = select(Mail).order_by(Mail.id.desc())
    return found.where(Mail.recipient == recipient.strip().lower()) if recipient else found


def send_verification(user: User, token: str) -> None:
    """Ask the holder of an address to confirm it."""
    body = VERIFICATION.format(name=user.name, base=runtime().settings.base_url, token=token)
    queue(user.email, "Confirm your address", body, "verification")


def send_reset(user: User, token: str) -> None:
    """Let the holder of an address choose a new password."""
    body = RESET.format(name=user.name, base=runtime().settings.base_url, token=token)
    queue(user.email, "Choose a new password", body, "password_reset")


def send_changed(user: User) -> None:
    """Tell somebody that their password is another one now."""
    queue(user.email, "Your password was changed", CHANGED.format(name=user.name), "password_changed")


VERIFICATION = """Hello {name},

please confirm that this address is yours. Your token, good for 48 hours:

{token}

Enter it where you signed up, or send it yourself:

curl {base}/api/auth/verify-email -H 'Content-Type: application/json' -d '{{"token": "{token}"}}'

If you did not sign up, ignore this mail.
"""
RESET = """Hello {name},

somebody, probably you, asked for a new password. Your token, good for one hour and once:

{token}

Enter it where you asked, or send it yourself with the password you choose:

curl {base}/api/auth/reset-password -H 'Content-Type: application/json' \\
  -d '{{"token": "{token}", "newPassword": "..."}}'

If it was not you, ignore this mail: nothing has changed.
"""
CHANGED = """Hello {name},

the password of your account was changed, and every other session was ended.

If it was not you, ask for a new password at once.
"""
