"""Signing in and out, and what is refused."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from sqlalchemy import select

from models.audit import AuditEntry
from models.base import transaction
from models.identity import User
from models.orgs import Org
from support.accounts import PASSWORD, People, cookies_of, value_of
from support.envelopes import Refusals


def test_signing_in_answers_clients_of_both_systems(people: People) -> None:
    """The fleet's clients read tokens, the job engine's read `ok` and the cookie: one answer serves both."""
    user = people.make()
    answer = people.login("  ADA@example.com ".strip())
    body = answer.json()
    assert answer.status_code == 200
    assert body["ok"] is True
    assert body["user"]["id"] == user.uid
    assert body["user"]["displayName"] == "Ada"
    assert body["user"]["email_verified"] is True
    assert body["expiresIn"] == 900
    assert set(cookies_of(answer)) == {"outsend_session", "refresh_token"}


def test_an_access_token_lasts_fifteen_minutes(people: People) -> None:
    """Clients plan their refresh by these claims."""
    user = people.make()
    claims = jwt.decode(people.enter().body["accessToken"], options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 900
    assert claims["sub"] == user.uid
    assert claims["email"] == "ada@example.com"
    assert claims["typ"] == "access"


@pytest.mark.parametrize(("host", "mode", "secure"), [
    ("127.0.0.1", "auto", False), ("::1", "auto", False), ("192.0.2.1", "auto", True), ("127.0.0.1", "always", True),
    ("192.0.2.1", "never", False),
])  # fmt: skip
def test_cookies_are_out_of_reach_of_scripts_and_other_sites(
    people: People, host: str, mode: str, secure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secure by default wherever the server can be reached from elsewhere; a developer on loopback has no TLS."""
    runtime = people.client.application.runtime
    object.__setattr__(runtime.settings, "host", host)
    object.__setattr__(runtime.settings, "cookie_secure", mode)
    people.make()
    cookies = people.enter().cookies
    for name, path in (("outsend_session", "/"), ("refresh_token", "/api/auth")):
        flags = cookies[name].split("; ")[1:]
        assert {"HttpOnly", "SameSite=Lax", f"Path={path}", "Max-Age=604800"} <= set(flags)
        assert ("Secure" in flags) is secure


@pytest.mark.hashing
def test_a_wrong_password_and_an_unknown_address_are_told_alike(people: People, refused: Refusals) -> None:
    """Whoever tries addresses must not learn which exist, from the words or from the time."""
    people.make()
    bodies, times = [], []
    for email in ("ada@example.com", "nobody@example.com"):
        people.login(email, "warm up the hash")
        begun = time.perf_counter()
        bodies.append(refused(people.login(email, "wrong password"), 401))
        times.append(time.perf_counter() - begun)
    assert bodies[0] == bodies[1]
    assert bodies[0]["message"] == bodies[0]["detail"] == "Invalid credentials"
    assert min(times) > max(times) / 4


def test_a_deactivated_account_is_told_so_only_with_its_password(people: People, refused: Refusals) -> None:
    """403 is for whom the account belongs to."""
    people.make(is_active=False)
    refused(people.login(password="wrong password"), 401)
    refused(people.login(), 403)


def test_an_account_without_a_password_cannot_be_entered(people: People, refused: Refusals) -> None:
    """Users who only hold keys have no password that could match."""
    refused(people.login("operator@localhost", ""), 400)
    refused(people.login("operator@localhost", "anything"), 401)


@pytest.mark.settings(rate_limits="on")
def test_guessing_is_limited_by_address_and_account(people: People, refused: Refusals) -> None:
    """Five tries in a quarter of an hour at one account; another account of the same household is not locked out."""
    people.make()
    people.make("bea@example.com")
    for _ in range(5):
        refused(people.login(password="wrong password"), 401)
    limited = people.login()
    refused(limited, 429)
    assert 1 <= int(limited.headers["retry-after"]) <= 901
    assert people.login("Ada@Example.com").status_code == 429
    assert people.login("bea@example.com").status_code == 200


def test_the_first_login_makes_a_personal_org_once(people: People) -> None:
    """Everybody has somewhere to put boxes; a second login makes no second one."""
    people.make(name="Ada Lovelace")
    people.make("other@example.com", name="Ada  Lovelace!")
    for email in ("ada@example.com", "ada@example.com", "other@example.com"):
        held = people.enter(email)
    with transaction(people.engine, write=False) as session:
        orgs = session.scalars(select(Org).where(Org.is_personal).order_by(Org.id)).all()
    assert [org.name for org in orgs] == ["Ada Lovelace", "Ada  Lovelace!"]
    assert orgs[0].slug == "ada-lovelace"
    assert orgs[1].slug.startswith("ada-lovelace-")
    mine = held.caller.get("/api/auth/me").json()["memberships"]
    assert [(m["org"]["id"], m["role"]) for m in mine] == [(orgs[1].uid, "owner")]


def test_logins_are_recorded_failed_ones_too(people: People) -> None:
    """Who looks into a break-in needs both; neither record may hold a password."""
    user = people.make()
    people.login(password="wrong password")
    people.enter()
    with transaction(people.engine, write=False) as session:
        entries = session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()
    assert [e.action for e in entries if e.action.startswith("auth.")] == ["auth.login_failed", "auth.login"]
    assert {e.actor_id for e in entries} == {user.id}
    assert all("wrong" not in str(e.details) and e.request_id and e.ip_address for e in entries)


@pytest.mark.hashing
def test_an_outdated_hash_is_made_anew(people: People) -> None:
    """Stronger parameters reach every account that is used."""
    from argon2 import PasswordHasher  # noqa: PLC0415

    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    user = people.make()
    with transaction(people.engine) as session:
        session.get_one(User, user.id).password_hash = weak
    people.enter()
    with transaction(people.engine, write=False) as session:
        renewed = session.get_one(User, user.id).password_hash
    assert renewed is not None
    assert "m=65536" in renewed
    people.enter()


def test_logging_out_with_a_bearer_ends_that_session_only(people: People, refused: Refusals) -> None:
    """Its access token, refresh token and cookie are worth nothing afterwards; the other device goes on."""
    people.make()
    here, there = people.enter(), people.enter()
    answer = here.caller.post("/api/auth/logout", headers={"cookie": _sent(here.cookies)})
    assert answer.json() == {"ok": True}
    assert {c.split("; ")[0] for c in cookies_of(answer).values()} == {""}
    refused(here.caller.get("/api/auth/me"), 401)
    refused(people.refresh(here.refresh), 401)
    refused(people.by_cookie(value_of(here.cookies["outsend_session"])).get("/api/auth/me"), 401)
    assert there.caller.get("/api/auth/me").status_code == 200
    assert people.refresh(there.refresh).status_code == 200


def test_logging_out_with_a_cookie_ends_it(people: People, refused: Refusals) -> None:
    """A copied cookie must not outlive the logout."""
    people.make()
    held = people.enter()
    browser = people.by_cookie(value_of(held.cookies["outsend_session"]))
    assert browser.get("/api/auth/me").status_code == 200
    assert browser.post("/api/auth/logout").json() == {"ok": True}
    refused(browser.get("/api/auth/me"), 401)


def test_another_sites_page_cannot_log_somebody_out(people: People, refused: Refusals) -> None:
    """A change by cookie must come from this site's own pages."""
    people.make()
    held = people.enter()
    foreign = people.by_cookie(value_of(held.cookies["outsend_session"]), origin="https://evil.example")
    refused(foreign.post("/api/auth/logout"), 403)
    all_cookies = people.client.bearing(cookie=_sent(held.cookies), origin="https://evil.example")
    refused(all_cookies.post("/api/auth/refresh"), 403)
    assert people.by_cookie(value_of(held.cookies["outsend_session"])).get("/api/auth/me").status_code == 200


def test_logging_out_twice_is_no_failure(people: People) -> None:
    """A client that lost the first answer tries again."""
    assert people.anonymous.post("/api/auth/logout").json() == {"ok": True}


def test_everybody_finds_their_fields_at_me(people: People, user: Any) -> None:
    """One body serves three kinds of client, each with the id it knows."""
    made = people.make()
    held = people.enter()
    by_bearer = held.caller.get("/api/auth/me").json()
    by_cookie = people.by_cookie(value_of(held.cookies["outsend_session"])).get("/api/auth/me")
    by_key = user.get("/api/auth/me").json()
    assert by_bearer["user"]["id"] == made.uid
    assert by_cookie.json()["user"]["id"] == by_cookie.json()["id"] == made.id
    assert by_cookie.json()["is_active"] is True
    assert by_key["user"]["email"] == "operator@localhost"
    assert by_key["providers"] == []
    assert "Max-Age=604800" in cookies_of(by_cookie)["outsend_session"]


def _sent(cookies: dict[str, str]) -> str:
    return "; ".join(f"{name}={value_of(cookie)}" for name, cookie in cookies.items())
