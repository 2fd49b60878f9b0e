"""Mail: what is said to people, put into the outbox in the transaction that gives the reason for it."""

from __future__ import annotations

import re

from sqlalchemy import Select, select

from app import engine
from app.runtime import runtime
from models.base import session
from models.identity import User
from models.mail import Mail
from models.orgs import Invitation, Org

TASK = "mail"
CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")


def queue(recipient: str, subject: str, body: str, kind: str) -> None:
    """Hand over one mail; it is sent once the transaction is committed, or kept when no mail server is configured."""
    status = "queued" if runtime().settings.smtp_url else "kept"
    line = CONTROLS.sub(" ", subject).strip()[:300]
    mail = Mail(recipient=recipient, subject=line, body=body, kind=kind, status=status)
    session().add(mail)
    if status == "queued":
        session().flush()
        hand_over(mail)


def hand_over(mail: Mail) -> None:
    """Have a mail sent when it is due; each try is a task of its own."""
    engine.submit(TASK, f"{mail.id}.{mail.tries + 1}", at=mail.next_try_at)


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


def send_invitation(invited: Invitation, org: Org, by: User, token: str) -> None:
    """Let somebody join an org."""
    told = {"org": org.name, "by": by.name, "email": by.email, "role": AS[invited.role]}
    body = INVITATION.format(base=runtime().settings.base_url, token=token, **told)
    queue(invited.email, f"You are invited to {org.name}", body, "invitation")


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
AS = {"owner": "an owner", "admin": "an admin", "member": "a member"}
INVITATION = """Hello,

{by} ({email}) invites you to be {role} of {org}. Your token, good for seven days and once:

{token}

See what it is to:

curl {base}/api/auth/invitations/{token}

Accept it with a new account:

curl {base}/api/auth/invitations/{token}/accept -H 'Content-Type: application/json' \\
  -d '{{"displayName": "...", "password": "..."}}'

If you have an account, sign in and accept it with your access token instead:

curl -X POST {base}/api/auth/invitations/{token}/accept -H 'Authorization: Bearer ...'

If you know nothing of this, ignore this mail: nobody joins without the token.
"""
