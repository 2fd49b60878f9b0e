"""The second factor: codes work once, within a step, and backup codes stand in for a lost app."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx2 as httpx
import pyotp
import pytest
from sqlalchemy import select

from models.base import transaction
from models.identity import User
from models.sessions import BackupCode
from support.accounts import PASSWORD, Held, People
from support.envelopes import Refusals


class Clock:
    """The time, as the server and the app both read it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = time.time() // 30 * 30 + 15.0
        monkeypatch.setattr("app.services.mfa.time", self.now)

    def now(self) -> float:
        """What it shows: it stands still between steps, so that a slow machine changes nothing."""
        return self.at

    def step(self, steps: int = 1) -> None:
        """Wait so many code lengths."""
        self.at += 30 * steps


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that tests move."""
    return Clock(monkeypatch)


class App:
    """An authenticator app that was shown a secret."""

    def __init__(self, secret: str, clock: Clock) -> None:
        self._totp = pyotp.TOTP(secret)
        self._clock = clock

    def code(self, drift: int = 0) -> str:
        """The code shown now, or so many steps from now."""
        return self._totp.at(int(self._clock.now()) + 30 * drift)


def protect(people: People, clock: Clock) -> tuple[Held, App, list[str]]:
    """Ada with a second factor on: a session, her app, her backup codes."""
    people.make()
    held = people.enter()
    secret = held.caller.post("/api/auth/mfa/setup").json()
    app = App(secret["secret"], clock)
    assert pyotp.parse_uri(secret["otpauthUrl"]).secret == secret["secret"]
    codes = held.caller.post("/api/auth/mfa/enable", json={"code": app.code()}).json()["backupCodes"]
    clock.step(2)
    return held, app, codes


def complete(people: People, code: str, token: str = "") -> httpx.Response:
    """The answer to a code, for a fresh sign-in unless a token is given."""
    token = token or people.login().json()["mfaToken"]
    return people.anonymous.post("/api/auth/login/mfa", json={"mfaToken": token, "code": code})


def test_a_password_alone_opens_nothing(people: People, clock: Clock) -> None:
    """Half a sign-in carries no token and no cookie."""
    protect(people, clock)
    answer = people.login()
    assert set(answer.json()) == {"mfaRequired", "mfaToken"}
    assert "set-cookie" not in answer.headers


def test_a_code_completes_the_sign_in(people: People, clock: Clock) -> None:
    """Afterwards it is a session as any other, by token and by cookie."""
    _, app, _ = protect(people, clock)
    held = people.holding(complete(people, app.code()))
    assert held.caller.get("/api/auth/me").json()["user"]["mfaEnabled"] is True
    assert set(held.cookies) == {"outsend_session", "refresh_token"}


@pytest.mark.parametrize(("drift", "status"), [(-2, 401), (-1, 200), (0, 200), (1, 200), (2, 401)])
def test_a_clock_may_be_off_by_one_step(people: People, clock: Clock, drift: int, status: int) -> None:
    """Phones drift; every further step would be another guess for free."""
    _, app, _ = protect(people, clock)
    clock.step(2)
    assert complete(people, app.code(drift)).status_code == status


def test_a_code_never_works_twice(people: People, clock: Clock, refused: Refusals) -> None:
    """A code read over a shoulder is worth nothing, even in the same half minute, even at the same moment."""
    _, app, _ = protect(people, clock)
    code, token = app.code(), people.login().json()["mfaToken"]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: complete(people, code, token), range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]
    refused(complete(people, code), 401)
    refused(complete(people, app.code(-1)), 401)
    clock.step()
    assert complete(people, app.code()).status_code == 200


def test_backup_codes_work_once_each(people: People, clock: Clock, refused: Refusals) -> None:
    """Ten ways in for somebody who lost the phone, in any case and without the dash."""
    _, _, codes = protect(people, clock)
    assert len(set(codes)) == 10
    assert complete(people, codes[0]).status_code == 200
    refused(complete(people, codes[0]), 401)
    assert complete(people, codes[1].upper().replace("-", "")).status_code == 200


def test_five_wrong_codes_end_the_sign_in(people: People, clock: Clock, refused: Refusals) -> None:
    """Guessing six digits must start with the password each time."""
    _, app, _ = protect(people, clock)
    token = people.login().json()["mfaToken"]
    for _ in range(5):
        refused(complete(people, "000000" if app.code() != "000000" else "111111", token), 401)
    refused(complete(people, app.code(), token), 401)
    assert complete(people, app.code()).status_code == 200


def test_a_newer_sign_in_voids_the_older(people: People, clock: Clock, refused: Refusals) -> None:
    """One half-done sign-in at a time."""
    _, app, _ = protect(people, clock)
    older = people.login().json()["mfaToken"]
    people.login()
    refused(complete(people, app.code(), older), 401)


def test_a_wrong_code_enables_nothing(people: People, clock: Clock, refused: Refusals) -> None:
    """An app that scanned badly must not lock its user out."""
    people.make()
    held = people.enter()
    refused(held.caller.post("/api/auth/mfa/enable", json={"code": "123456"}), 409)
    held.caller.post("/api/auth/mfa/setup")
    body = refused(held.caller.post("/api/auth/mfa/enable", json={"code": "000000"}), 401)
    assert body["message"] == "Invalid code"
    assert "accessToken" in people.login().json()


def test_it_is_turned_off_with_password_and_code(people: People, clock: Clock, refused: Refusals) -> None:
    """A stolen session alone cannot take the lock off the door."""
    held, app, _ = protect(people, clock)
    off = "/api/auth/mfa/disable"
    refused(held.caller.post(off, json={"password": "wrong password", "code": app.code()}), 401)
    refused(held.caller.post(off, json={"password": PASSWORD, "code": "zzzzz-zzzzz"}), 401)
    refused(held.caller.post("/api/auth/mfa/setup"), 409)
    assert held.caller.post(off, json={"password": PASSWORD, "code": app.code()}).status_code == 204
    assert "accessToken" in people.login().json()
    refused(held.caller.post(off, json={"password": PASSWORD, "code": app.code()}), 409)


def test_the_database_alone_yields_no_second_factor(people: People, clock: Clock) -> None:
    """The secret is sealed and the codes are hashed."""
    _, app, codes = protect(people, clock)
    with transaction(people.engine, write=False) as session:
        sealed = session.scalar(select(User.mfa_secret).where(User.email == "ada@example.com"))
        hashes = session.scalars(select(BackupCode.code_hash)).all()
    assert sealed is not None
    assert app._totp.secret not in sealed
    assert not {code.replace("-", "") for code in codes} & set(hashes)
