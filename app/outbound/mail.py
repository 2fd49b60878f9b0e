"""Delivers the outbox over SMTP, beside the requests: each mail by one worker, again after a failure that may pass."""

from __future__ import annotations

import asyncio
import logging
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from urllib.parse import unquote, urlsplit

from sqlalchemy import Engine, select, update

from app.settings import Settings, SettingsError
from models.base import now, transaction
from models.mail import Mail

log = logging.getLogger("yardmaster.mail")
INTERVAL_S = 0.5
TIMEOUT_S = 20.0
BATCH = 20
# A worker that dies while sending leaves the mail to the others after this.
LEASE = timedelta(minutes=2)
WAITS = tuple(timedelta(minutes=m) for m in (1, 5, 15, 60, 240, 720))
PERMANENT = 500
PORTS = {"smtp": 587, "smtps": 465}


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
        """`smtp[s]://[user:password@]host[:port]`; SettingsError otherwise."""
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = 0
        if parts.scheme not in PORTS or not parts.hostname or port == 0 or parts.path.strip("/"):
            raise SettingsError("YARDMASTER_SMTP_URL must look like smtp://user:password@host:587 or smtps://host")
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


class Mailer:
    """Looks for due mails twice a second; does nothing where no mail server is configured."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._sender = settings.mail_from
        self._server = Server.parse(settings.smtp_url) if settings.smtp_url else None
        self._task: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()

    async def start(self) -> None:
        """Begin delivering."""
        if self._server:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End; a mail being sent is finished, the rest waits for the next start."""
        self._ending.set()
        if self._task:
            await self._task

    async def _run(self) -> None:
        while not self._ending.is_set():
            try:
                await asyncio.to_thread(self.deliver)
            except Exception as error:  # noqa: BLE001 (a database away for a moment must not end the delivery)
                log.warning("mails cannot be delivered: %s", type(error).__name__)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), INTERVAL_S)

    def deliver(self) -> int:
        """Send what is due; how many mails were tried."""
        with transaction(self._engine, write=False) as session:
            due = session.scalars(
                select(Mail.id).where(Mail.status == "queued", Mail.next_try_at <= now()).order_by(Mail.id).limit(BATCH)
            ).all()
        claimed = (mail for id_ in due if not self._ending.is_set() and (mail := self._claim(id_)))
        return sum(self._try(mail) for mail in claimed)

    def _claim(self, id_: int) -> Mail | None:
        """The mail, ours for as long as the lease; None when another worker has it."""
        moment = now()
        free = update(Mail).where(Mail.id == id_, Mail.status == "queued", Mail.next_try_at <= moment)
        with transaction(self._engine) as session:
            return session.scalar(free.values(next_try_at=moment + LEASE, tries=Mail.tries + 1).returning(Mail))

    def _try(self, mail: Mail) -> bool:
        assert self._server is not None  # noqa: S101 (only started with one)
        try:
            with self._server.connected() as session:
                session.send_message(compose(mail, self._sender))
        except (smtplib.SMTPException, OSError, ValueError, LookupError) as error:
            self._settle(mail, **_after(mail, error))
        else:
            self._settle(mail, status="sent", sent_at=now(), error=None)
        return True

    def _settle(self, mail: Mail, **values: object) -> None:
        with transaction(self._engine) as session:
            session.execute(update(Mail).where(Mail.id == mail.id).values(**values))


def compose(mail: Mail, sender: str) -> EmailMessage:
    """The message as sent; its id stays the same when it has to be sent again, so that a reader can drop the copy."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, mail.recipient, mail.subject
    message["Date"] = format_datetime(mail.created_at)
    message["Message-ID"] = f"<{mail.id}.{int(mail.created_at.timestamp())}@{sender.rpartition('@')[2].strip('> ')}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.body)
    return message


def _after(mail: Mail, error: Exception) -> dict[str, object]:
    """Failed for good when the server said so or it was tried often enough, else due again later."""
    told = f"{type(error).__name__}: {_code(error) or 'no answer'}"
    log.warning("mail %s could not be sent: %s", mail.id, told)
    unsendable = not isinstance(error, OSError)  # an address no message can be written to; smtplib's are OSErrors
    refused = _code(error) >= PERMANENT and not isinstance(error, smtplib.SMTPAuthenticationError)
    if unsendable or refused or mail.tries > len(WAITS):
        return {"status": "failed", "error": told}
    return {"next_try_at": now() + WAITS[min(mail.tries, len(WAITS)) - 1], "error": told}


def _code(error: Exception) -> int:
    """The server's reply code (RFC 5321 §4.2); 0 when there was none."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return max((code for code, _ in error.recipients.values()), default=0)
    return int(getattr(error, "smtp_code", 0))
