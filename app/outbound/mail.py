"""One mail over SMTP: the message, the server, and whether a failure may pass."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import format_datetime
from urllib.parse import unquote, urlsplit

from models.mail import Mail

TIMEOUT_S = 20.0
PERMANENT = 500
PORTS = {"smtp": 587, "smtps": 465}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a mail was not taken; `for_good` when asking again would not help."""

    told: str
    for_good: bool


@dataclass(frozen=True, slots=True)
class Server:
    """A mail server. `smtp://` turns to TLS where offered, and must before a password is sent; `smtps://` begins so."""

    host: str
    port: int
    implicit_tls: bool
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> Server:
        """`smtp[s]://[user:password@]host[:port]`; ValueError otherwise."""
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = 0
        if parts.scheme not in PORTS or not parts.hostname or port == 0 or parts.path.strip("/"):
            raise ValueError("must look like smtp://user:password@host:587 or smtps://host")
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(parts.hostname, port or PORTS[parts.scheme], parts.scheme == "smtps", user, password)

    @contextmanager
    def connected(self) -> Iterator[smtplib.SMTP]:
        """A session with the server, signed in."""
        context = ssl.create_default_context()
        with self._open(context) as session:
            session.ehlo()
            if not self.implicit_tls and session.has_extn("starttls"):
                session.starttls(context=context)
                session.ehlo()
            elif not self.implicit_tls and self.user:
                raise smtplib.SMTPNotSupportedError("no STARTTLS offered; a password is not sent in the clear")
            if self.user:
                session.login(self.user, self.password)
            yield session

    def _open(self, context: ssl.SSLContext) -> smtplib.SMTP:
        if self.implicit_tls:
            return smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT_S, context=context)
        return smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_S)


def compose(mail: Mail, sender: str) -> EmailMessage:
    """The message as sent; its id stays the same when it has to be sent again, so that a reader can drop the copy."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, mail.recipient, mail.subject
    message["Date"] = format_datetime(mail.created_at)
    message["Message-ID"] = f"<{mail.id}.{int(mail.created_at.timestamp())}@{sender.rpartition('@')[2].strip('> ')}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.body)
    return message


def send(server: Server, mail: Mail, sender: str) -> Failure | None:
    """Hand a mail over; None when the server took it."""
    try:
        with server.connected() as session:
            session.send_message(compose(mail, sender))
    except (smtplib.SMTPException, OSError, ValueError, LookupError) as error:
        return _failure(error)
    return None


def _failure(error: Exception) -> Failure:
    unsendable = not isinstance(error, OSError)  # an address no message can be written to; smtplib's are OSErrors
    refused = _code(error) >= PERMANENT and not isinstance(error, smtplib.SMTPAuthenticationError)
    return Failure(f"{type(error).__name__}: {_code(error) or 'no answer'}", for_good=unsendable or refused)


def _code(error: Exception) -> int:
    """The server's reply code (RFC 5321 §4.2); 0 when there was none."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return max((code for code, _ in error.recipients.values()), default=0)
    return int(getattr(error, "smtp_code", 0))
