"""The commands for operators, each beside a server that goes on serving."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import pyotp
import pytest
from sqlalchemy import Engine, select

from models.base import connect, transaction
from models.identity import ApiKey, ProviderKey, User
from models.sessions import CookieSession
from support import preloaded
from support.databases import Template
from support.servers import Server, environment

PASSWORD = "correct horse battery 1"


@pytest.fixture
def running(backend: Template, serve: Any, tmp_path: Any) -> Iterator[tuple[Server, dict[str, Any]]]:
    """A server of two workers on each database, and the settings its commands need."""
    with backend.copy(tmp_path / "shared") as url:
        settings = {"database_url": url} if url else {}
        server = serve(data=tmp_path / "shared", rate_limits="off", workers=2, **settings)
        yield server, settings
        server.stop()


def run(server: Server, settings: dict[str, Any], *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command on the server's data directory."""
    return preloaded.run(["--data", server.data, *arguments], environment(**settings), server.data)


def told(server: Server, settings: dict[str, Any], *arguments: str) -> Any:
    """What a command answers in JSON."""
    done = run(server, settings, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def database(server: Server, settings: dict[str, Any]) -> Iterator[Engine]:
    """The server's database."""
    engine = connect(settings.get("database_url") or f"sqlite:///{server.data / 'yardmaster.db'}")
    try:
        yield engine
    finally:
        engine.dispose()


def login(server: Server, email: str = "ada@example.com", password: str = PASSWORD) -> Any:
    """The answer to signing in."""
    return server.request("POST", "/api/auth/login", json={"email": email, "password": password})


def create(server: Server, settings: dict[str, Any], *options: str) -> Any:
    """Ada's account."""
    return told(server, settings, "users", "create", "Ada@example.com", *options)


def test_accounts_are_made_listed_and_raised(running: tuple[Server, dict[str, Any]]) -> None:
    """The running server takes them at once."""
    server, settings = running
    made = create(server, settings, "--password", PASSWORD, "--verified")
    assert (made["email"], made["email_verified"], made["role"]) == ("ada@example.com", True, "user")
    held = login(server).json()
    assert held["user"]["id"] == made["uid"]
    told(server, settings, "users", "promote", "ADA@example.com")
    me = server.request("GET", "/api/auth/me", held["accessToken"]).json()
    assert me["user"]["isPlatformAdmin"] is True
    listed = told(server, settings, "users", "list")["users"]
    assert [user["role"] for user in listed if user["email"] == "ada@example.com"] == ["admin"]
    again = run(server, settings, "users", "create", "ada@example.com")
    assert (again.returncode, again.stderr) == (1, "Error: A user with this email exists\n")


def test_a_password_is_made_when_none_is_given(running: tuple[Server, dict[str, Any]]) -> None:
    """It is shown once, alone on standard output."""
    server, settings = running
    done = run(server, settings, "users", "create", "ada@example.com")
    assert login(server, password=done.stdout.strip()).status_code == 200
    refused = run(server, settings, "users", "create", "bea@example.com", "--password", "short")
    assert (refused.returncode, "8 to 128" in refused.stderr) == (2, True)
    assert run(server, settings, "users", "create", "no address").returncode == 2


def test_an_invitation_code_lets_somebody_in(running: tuple[Server, dict[str, Any]]) -> None:
    """An operator's way to invite before there is a page for it."""
    server, settings = running
    code = run(server, settings, "users", "invite", "--expires-in", "1h").stdout.strip()
    body = {"email": "ada@example.com", "password": PASSWORD, "accept_responsibility": True, "invitation_code": code}
    assert server.request("POST", "/api/auth/signup", json=body).status_code == 200


def test_the_outbox_can_be_read(running: tuple[Server, dict[str, Any]]) -> None:
    """Without a mail server the operator hands the token over."""
    server, settings = running
    create(server, settings, "--password", PASSWORD)
    server.request("POST", "/api/auth/forgot-password", json={"email": "ada@example.com"})
    [mail] = told(server, settings, "mail", "--to", "ADA@example.com")["mails"]
    assert (mail["kind"], mail["status"]) == ("password_reset", "kept")
    token = next(line for line in mail["body"].splitlines() if len(line) == 43)
    body = {"token": token, "newPassword": "staple battery horse"}
    assert server.request("POST", "/api/auth/reset-password", json=body).status_code == 204
    assert "password_reset" not in run(server, settings, "mail").stdout
    assert token in run(server, settings, "mail").stdout
    assert told(server, settings, "mail", "--to", "nobody@example.com") == {"mails": []}


class Watch:
    """Uses credentials without pause, and keeps what was refused."""

    def __init__(self, server: Server, key: str, refresh: str, cookie: str) -> None:
        self.server, self.key, self.refresh, self.cookie = server, key, refresh, cookie
        self.refused: list[tuple[str, int]] = []
        self.rounds = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            self._note("key", self.server.request("GET", "/api/auth/me", self.key))
            self._note("cookie", self.server.request("GET", "/api/auth/me", headers={"Cookie": self.cookie}))
            answer = self.server.request("POST", "/api/auth/refresh", json={"refreshToken": self.refresh})
            self._note("refresh", answer)
            if not answer.ok:
                return
            self.refresh = answer.json()["refreshToken"]
            made = self.server.request("POST", "/api/auth/me/keys", self.key, json={"name": f"k{self.rounds}"})
            self._note("make", made)
            for _ in range(4):  # whichever worker answers
                self._note("made", self.server.request("GET", "/api/auth/me", made.json()["key"]))
            self.rounds += 1
            time.sleep(0.02)

    def _note(self, what: str, answer: Any) -> None:
        if not answer.ok:
            self.refused.append((what, answer.status_code))


def test_the_pepper_is_rotated_under_load_and_nobody_notices(running: tuple[Server, dict[str, Any]]) -> None:
    """Keys, cookies and refresh tokens made before, during and after go on working in both workers."""
    server, settings = running
    create(server, settings, "--password", PASSWORD)
    held = login(server)
    cookie = f"outsend_session={held.cookies['outsend_session']}"
    key = server.request("POST", "/api/auth/users/2/keys", server.admin_key, json={"name": "old"}).json()["key"]
    with database(server, settings) as engine, transaction(engine, write=False) as session:
        before = _hashes(session)
    with Watch(server, key, held.json()["refreshToken"], cookie) as watch:
        for accepted in (3, 5):
            told(server, settings, "keys", "rotate-pepper")
            assert told(server, settings, "keys", "rotate-pepper")["accepted"] == accepted
        time.sleep(1)
    assert watch.refused == []
    assert watch.rounds > 3
    assert server.request("GET", "/api/auth/users", server.admin_key).status_code == 200
    with database(server, settings) as engine, transaction(engine, write=False) as session:
        after = _hashes(session)
    assert not before & after, "what was used is fingerprinted under the new pepper"
    assert (server.data / "secrets.json").stat().st_mode & 0o777 == 0o600


def _hashes(session: Any) -> set[str]:
    used = session.scalars(select(ApiKey.key_hash).where(ApiKey.name.in_(("old", "admin")))).all()
    return {*used, *session.scalars(select(CookieSession.token_hash)).all()}


def test_sealed_secrets_are_sealed_anew_under_a_running_server(running: tuple[Server, dict[str, Any]]) -> None:
    """Second factors and provider keys open before and after; broken off or repeated, nothing is lost."""
    server, settings = running
    create(server, settings, "--password", PASSWORD)
    access = login(server).json()["accessToken"]
    secret = server.request("POST", "/api/auth/mfa/setup", access).json()["secret"]
    with database(server, settings) as engine, transaction(engine) as session:
        session.add_all(User(email=f"p{n}@example.com", name="p", mfa_secret="v1.k1.unreadable") for n in range(2))
    path = "/api/auth/users/2/providers/openai"
    server.request("PUT", path, server.admin_key, json={"api_key": "sk-" + "a" * 40}).raise_for_status()
    done = run(server, settings, "keys", "rotate-sealing", "--json")
    assert json.loads(done.stdout) == {"status": "rotated", "key": "k2", "resealed": 2, "failed": 2}
    assert done.returncode == 1
    assert "of 4" in done.stderr
    with database(server, settings) as engine, transaction(engine, write=False) as session:
        sealed = session.scalars(select(ProviderKey.sealed_key)).all()
        sealed += session.scalars(select(User.mfa_secret).where(User.email == "ada@example.com")).all()
    assert {text.split(".")[1] for text in sealed if text} == {"k2"}
    code = {"code": pyotp.TOTP(secret).now()}
    assert server.request("POST", "/api/auth/mfa/enable", access, json=code).status_code == 200


def test_a_secrets_file_that_breaks_does_not_stop_a_server(server: Server) -> None:
    """A half-restored backup is reported; what is held stays in force."""
    (server.data / "secrets.json").write_text("{")
    made = server.request("POST", "/api/auth/me/keys", server.user_key, json={"name": "a"})
    assert made.status_code == 201
    time.sleep(1)
    assert server.request("GET", "/api/auth/me", server.user_key).status_code == 200
    assert "secrets.json cannot be read" in server.log.read_text()


def test_without_a_server_there_is_a_sentence(tmp_path: Any) -> None:
    """Every command says what to do instead of making an empty server."""
    for arguments in (["users", "list"], ["mail"], ["keys", "rotate-pepper"], ["keys", "rotate-sealing"]):
        done = preloaded.run(["--data", tmp_path / "nowhere", *arguments], environment(), tmp_path)
        assert (done.returncode, "there is no server in" in done.stderr) == (1, True)
    assert not (tmp_path / "nowhere").exists()
