"""Mail reaches a real SMTP server, once, again after a failure, and is kept where there is none."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import Engine, delete, select, update

from app import settings
from app.engine import Context
from app.outbound.mail import Server, compose
from app.runtime import enter
from app.services import mail
from app.services.delivery import Delivery
from app.settings import Settings, SettingsError
from models.base import connect, now, transaction
from models.engine import EngineTask
from models.mail import Mail
from support.accounts import People
from support.servers import free_port

pytestmark = pytest.mark.settings(engine="on")


class Sink:
    """What an SMTP server received, and how it answers."""

    def __init__(self) -> None:
        self.received: list[Any] = []
        self.reply = "250 OK"
        self.takes_s = 0.0

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 (aiosmtpd's name)
        """Take a message, or refuse it, no faster than a busy server would."""
        await asyncio.sleep(self.takes_s)
        if self.reply.startswith("250"):
            self.received.append(envelope)
        return self.reply


Serve = Callable[..., tuple[Sink, int]]


@pytest.fixture
def smtp() -> Iterator[Serve]:
    """Starts SMTP servers on loopback."""
    started: list[Controller] = []

    def start(**options: Any) -> tuple[Sink, int]:
        sink, port = Sink(), free_port()
        controller = Controller(sink, "127.0.0.1", port, **options)
        controller.start()
        started.append(controller)
        return sink, port

    yield start
    for controller in started:
        controller.stop()


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's certificate for 127.0.0.1 that this process trusts, as an operator's own CA would be."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    today = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(today - timedelta(days=1)).not_valid_after(today + timedelta(days=1))
    certificate = made.add_extension(alternative, critical=False).sign(key, hashes.SHA256())
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (tmp_path / "key.pem").write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context


def write(engine: Engine, **fields: Any) -> None:
    """A mail in the outbox."""
    values = {"recipient": "ada@example.com", "subject": "Hi", "body": "Hello\n", "kind": "test"} | fields
    with transaction(engine) as session:
        written = Mail(**values)
        session.add(written)
        session.flush()
        mail.hand_over(written)


def outbox(engine: Engine) -> list[Mail]:
    """Every mail, oldest first."""
    with transaction(engine, write=False) as session:
        return list(session.scalars(select(Mail).order_by(Mail.id)))


def deliver(people: People, url: str, **done: Any) -> int:
    """Carry out the tries that are due; how many. `done` are steps that were done before a crash."""
    delivery = Delivery(people.engine, Server.parse(url), "Yard <yard@example.org>")
    with transaction(people.engine) as session:
        due = delete(EngineTask).where(EngineTask.kind == mail.TASK, EngineTask.due_at <= now())
        keys = session.scalars(due.returning(EngineTask.key)).all()
    for key in keys:
        delivery(key, Context(key, threading.Event(), lambda: False, lambda _, step: step(), done=dict(done)))
    return len(keys)


def hurry(people: People) -> None:
    """Let the time pass until what waits is due."""
    with transaction(people.engine) as session:
        session.execute(update(Mail).values(next_try_at=now()))
        session.execute(update(EngineTask).values(due_at=now()))


def test_a_mail_is_delivered_whole_and_once(settings: Settings, serve: Any, smtp: Serve) -> None:
    """Two workers look at the same outbox while the server takes its time."""
    sink, port = smtp()
    sink.takes_s = 0.2
    engine = connect(settings.database)
    for n in range(12):
        write(engine, subject=f"Grüße {n}", body="Ihr Schlüssel\n")
    options = {"data": settings.data, "database_url": settings.database_url, "rate_limits": "off", "workers": 2}
    serve(**options, smtp_url=f"smtp://127.0.0.1:{port}", mail_from="Yard <yard@example.org>")
    deadline = time.monotonic() + 20
    while {kept.status for kept in outbox(engine)} != {"sent"} and time.monotonic() < deadline:
        time.sleep(0.05)
    kept = outbox(engine)
    engine.dispose()
    assert {(mail.status, mail.tries, mail.error) for mail in kept} == {("sent", 1, None)}
    assert all(mail.sent_at for mail in kept)
    messages = [message_from_bytes(envelope.content, policy=default) for envelope in sink.received]
    assert sorted(message["Subject"] for message in messages) == sorted(mail.subject for mail in kept)
    assert {(*envelope.rcpt_tos, envelope.mail_from) for envelope in sink.received} == {
        ("ada@example.com", "yard@example.org")
    }
    assert b"Subject: =?utf-8?" in sink.received[0].content


def test_a_failure_that_may_pass_is_tried_again_later(people: People, smtp: Serve) -> None:
    """A busy server says 4xx; the mail waits a minute, and keeps its identity so that no reader sees two."""
    sink, port = smtp()
    sink.reply = "451 Try again"
    write(people.engine)
    url = f"smtp://127.0.0.1:{port}"
    assert deliver(people, url) == 1
    [waiting] = outbox(people.engine)
    assert (waiting.status, waiting.error) == ("queued", "SMTPDataError: 451")
    assert timedelta(seconds=30) < waiting.next_try_at - now() <= timedelta(minutes=1)
    assert deliver(people, url) == 0
    sink.reply = "250 OK"
    hurry(people)
    assert deliver(people, url) == 1
    [sent] = outbox(people.engine)
    assert (sent.status, sent.tries, sent.error) == ("sent", 2, None)
    assert compose(sent, "a@b.c")["Message-ID"] == compose(waiting, "a@b.c")["Message-ID"]
    assert deliver(people, url) == 0


def test_what_the_server_took_before_a_crash_is_not_sent_again(people: People, smtp: Serve) -> None:
    """The try is noted when the work is taken up, by what its step returned."""
    sink, port = smtp()
    write(people.engine)
    assert deliver(people, f"smtp://127.0.0.1:{port}", send=["", False]) == 1
    assert sink.received == []
    assert [(found.status, found.tries) for found in outbox(people.engine)] == [("sent", 1)]


@pytest.mark.parametrize(("fields", "reply"), [({}, "550 No such user"), ({"recipient": "a@b@\r\nc"}, "250 OK")])
def test_a_failure_for_good_is_not_repeated(people: People, smtp: Serve, fields: dict[str, str], reply: str) -> None:
    """Nor does it hold up the mails behind it."""
    sink, port = smtp()
    sink.reply = reply
    write(people.engine, **fields)
    deliver(people, f"smtp://127.0.0.1:{port}")
    assert [found.status for found in outbox(people.engine)] == ["failed"]


def test_a_server_that_is_away_costs_nothing_but_time(people: People) -> None:
    """The outbox keeps what cannot be sent, for days."""
    write(people.engine)
    nobody = f"smtp://127.0.0.1:{free_port()}"
    for tries in range(1, 8):
        assert deliver(people, nobody) == 1
        [waiting] = outbox(people.engine)
        assert (waiting.tries, waiting.status) == (tries, "failed" if tries == 7 else "queued")
        hurry(people)
    assert deliver(people, nobody) == 0


def test_a_password_goes_over_tls_only(people: People, smtp: Serve, tls: ssl.SSLContext) -> None:
    """With STARTTLS the server gets it; a server without gets neither password nor mail."""
    seen: list[LoginPassword] = []

    def check(_server: Any, _session: Any, _envelope: Any, _method: str, auth: LoginPassword) -> AuthResult:
        seen.append(auth)
        return AuthResult(success=True)

    plain, plain_port = smtp()
    safe, safe_port = smtp(tls_context=tls, authenticator=check, require_starttls=True)
    write(people.engine)
    deliver(people, f"smtp://yard:p%40ss@127.0.0.1:{plain_port}")
    assert plain.received == []
    hurry(people)
    deliver(people, f"smtp://yard:p%40ss@127.0.0.1:{safe_port}")
    assert len(safe.received) == 1
    assert [(auth.login, auth.password) for auth in seen] == [(b"yard", b"p@ss")]


def test_a_certificate_nobody_vouches_for_stops_the_mail(
    people: People, smtp: Serve, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sits between must not read reset tokens."""
    monkeypatch.delenv("SSL_CERT_FILE")
    sink, port = smtp(tls_context=tls)
    write(people.engine)
    deliver(people, f"smtp://127.0.0.1:{port}")
    assert sink.received == []
    assert [found.status for found in outbox(people.engine)] == ["queued"]


def test_without_a_server_mail_is_kept(people: People) -> None:
    """An operator reads it from the outbox; it is not sent months later when a server appears."""
    people.make()
    people.anonymous.post("/api/auth/forgot-password", json={"email": "ada@example.com"})
    assert [found.status for found in people.mails("ada@example.com")] == ["kept"]


def test_a_subject_is_one_line(people: People) -> None:
    """A name with a line break must not write headers."""
    enter(people.client.application.runtime)
    with transaction(people.engine):
        mail.queue("ada@example.com", "Join Evil\r\nBcc: all@example.com", "Hi", "invitation")
    assert outbox(people.engine)[0].subject == "Join Evil Bcc: all@example.com"


@pytest.mark.parametrize("url", ["http://mail", "smtp://", "smtp://host:0", "smtp://host:x", "mail.example.org:25"])
def test_a_url_that_names_no_server_stops_the_start(url: str) -> None:
    """A typo must not show weeks later as mail that never came."""
    with pytest.raises(SettingsError, match="YARDMASTER_SMTP_URL"):
        settings.load({"YARDMASTER_SMTP_URL": url})


def test_a_running_server_sends_what_it_queues(serve: Any, smtp: Serve) -> None:
    """From the request to the mailbox, through the real process."""
    sink, port = smtp()
    server = serve(
        rate_limits="off", signup="open", smtp_url=f"smtp://127.0.0.1:{port}", public_url="https://yard.test/"
    )
    body = {"email": "ada@example.com", "password": "x" * 8, "displayName": "Ada"}
    assert server.request("POST", "/api/auth/register", json=body).status_code == 201
    deadline = time.monotonic() + 10
    while not sink.received and time.monotonic() < deadline:
        time.sleep(0.1)
    text = message_from_bytes(sink.received[0].content, policy=default).get_content()
    assert "curl https://yard.test/api/auth/verify-email" in text
    token = next(line for line in text.splitlines() if len(line) == 43)
    assert server.request("POST", "/api/auth/verify-email", json={"token": token}).json()["emailVerified"] is True
