"""Administration: codes to sign up with, finding people, switching accounts off, and always one who can."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from app.services import accounts
from models.audit import AuditEntry
from models.base import now, transaction
from models.identity import User
from support.accounts import PASSWORD, People, cookies_of, value_of
from support.callers import Caller
from support.envelopes import Refusals
from support.together import at_once

ROOT = "root@example.com"
USERS, CODES = "/api/admin/users", "/api/admin/invitations"


def browser(people: People, email: str) -> Caller:
    """Somebody signed in by cookie."""
    return people.by_cookie(value_of(cookies_of(people.login(email))["outsend_session"]))


def operator(people: People, email: str = ROOT) -> Caller:
    """Somebody who operates the server, signed in."""
    people.make(email, is_admin=True)
    return browser(people, email)


def test_a_code_is_shown_once_and_lets_somebody_in(people: People) -> None:
    """The list knows its beginning and how often it was used, never the code."""
    root = operator(people)
    ends = (now() + timedelta(days=1)).isoformat(timespec="seconds")
    made = root.post(CODES, json={"max_uses": 2, "expires_at": ends, "note": " The team in Lyon "})
    assert made.status_code == 201
    code = made.json().pop("code")
    sent = {"email": "ada@example.com", "password": PASSWORD, "accept_responsibility": True, "invitation_code": code}
    assert people.anonymous.post("/api/auth/signup", json=sent).status_code == 200
    [listed] = root.get(CODES).json()["items"]
    assert listed == {k: v for k, v in made.json().items() if k != "code"} | {"uses": 1}
    assert (listed["note"], listed["max_uses"], listed["hint"]) == ("The team in Lyon", 2, code[:4])
    assert listed["created_by"] == root.get("/api/auth/me").json()["id"]
    assert listed["expires_at"].endswith("Z")
    assert code not in root.get(CODES).text


def test_a_code_needs_nothing_said(people: People) -> None:
    """It then lets one person in, whenever."""
    made = operator(people).post(CODES, json={"expires_at": None}).json()
    assert (made["max_uses"], made["note"]) == (1, "")
    assert "expires_at" not in made


@pytest.mark.parametrize(("field", "value", "message"), [
    ("expires_at", "2020-01-01T00:00:00Z", "must be to come"),
    ("expires_at", "tomorrow", "must be a valid date-time"),
    ("max_uses", 0, "must be at least 1"),
    ("note", "x" * 201, "must have at most 200 character(s)"),
    ("code", "CHOSENBYME", "is not a known field"),
])  # fmt: skip
def test_a_code_that_cannot_be_is_told_by_its_field(
    people: People, refused: Refusals, field: str, value: object, message: str
) -> None:
    """A form shows it where it belongs."""
    body = refused(operator(people).post(CODES, json={field: value}), 422)
    assert body["errors"] == [{"field": field, "message": message}]


def test_codes_are_listed_newest_first_in_pages(people: People, refused: Refusals) -> None:
    """200 is the most at once."""
    root = operator(people)
    for number in range(3):
        root.post(CODES, json={"note": f"n{number}"})
    page = root.get(CODES, params={"limit": 2, "offset": 1}).json()
    assert [item["note"] for item in page["items"]] == ["n1", "n0"]
    assert (page["total"], page["limit"], page["offset"]) == (3, 2, 1)
    assert root.get(CODES, params={"limit": 200}).json()["limit"] == 200
    refused(root.get(CODES, params={"limit": 201}), 422)


@pytest.fixture
def crowd(people: People) -> Caller:
    """An operator among people of every state."""
    root = operator(people)
    people.make("ada@example.com", name="Countess", last_login_at=now() - timedelta(days=3))
    people.make("bea@example.com", email_verified=False, last_login_at=now() - timedelta(days=2))
    people.make("off_100%@example.com", is_active=False)
    return root


@pytest.mark.parametrize(("asked", "found"), [
    ({"q": "COUNT"}, ["ada"]),
    ({"q": "BEA@"}, ["bea"]),
    ({"q": "100%"}, ["off_100%"]),
    ({"q": "f_1"}, ["off_100%"]),
    ({"role": "admin"}, ["root"]),
    ({"role": "user", "is_active": "true", "email_verified": "true", "q": "example"}, ["ada"]),
    ({"is_active": "false"}, ["off_100%"]),
    ({"email_verified": "false"}, ["bea"]),
    ({"q": "example", "sort": "email", "order": "asc"}, ["ada", "bea", "off_100%", "root"]),
    ({"q": "example"}, ["off_100%", "bea", "ada", "root"]),
    ({"q": "example", "order": "asc"}, ["root", "ada", "bea", "off_100%"]),
    ({"q": "example", "sort": "last_login_at"}, ["root", "bea", "ada", "off_100%"]),
    ({"q": "example", "sort": "last_login_at", "order": "asc"}, ["ada", "bea", "root", "off_100%"]),
    ({"q": "example", "sort": "email", "order": "asc", "limit": 2, "offset": 1}, ["bea", "off_100%"]),
    ({"q": "nobody"}, []),
])  # fmt: skip
def test_people_are_found_and_sorted(crowd: Caller, asked: dict[str, Any], found: list[str]) -> None:
    """By any part of the address or name taken literally, and by state; who never signed in comes last."""
    page = crowd.get(USERS, params={"q": "@example.com"} | asked).json()
    assert [item["email"].partition("@")[0] for item in page["items"]] == found
    assert page["total"] == (4 if "limit" in asked else len(found))


def test_a_list_of_people_holds_no_secret(crowd: Caller, people: People) -> None:
    """Nor anything made of one."""
    shown = crowd.get(USERS, params={"sort": "email", "order": "asc"}).json()["items"][0]
    assert sorted(shown) == [
        "created_at", "email", "email_verified", "id", "is_active", "last_login_at", "locale", "mfa_enabled", "name",
        "role",
    ]  # fmt: skip


def test_switching_off_signs_out_at_once(people: People, refused: Refusals) -> None:
    """Browsers, fleet tokens and keys alike; switching on again gives the keys back, not the sessions."""
    root, user = operator(people), people.make("ada@example.com")
    with transaction(people.engine):
        key = people.client.bearing(accounts.add_key(user.id, accounts.Terms(), _secrets(people)).key)
    cookie, fleet = browser(people, user.email), people.enter(user.email)
    people.anonymous.post("/api/auth/password/reset/request", json={"email": user.email})
    for caller in (cookie, fleet.caller, key):
        assert caller.get("/api/auth/me").status_code == 200
    answer = root.patch(f"/api/admin/users/{user.id}", json={"is_active": False})
    assert (answer.status_code, answer.json()["is_active"], answer.json()["role"]) == (200, False, "user")
    for caller in (cookie, fleet.caller, key):
        refused(caller.get("/api/auth/me"), 401)
    refused(people.refresh(fleet.refresh), 401)
    refused(people.login(user.email), 403)
    token = people.token(user.email, "password_reset")
    sent = {"token": token, "new_password": "staple battery 2"}
    refused(people.anonymous.post("/api/auth/password/reset/confirm", json=sent), 400)
    assert root.patch(f"/api/admin/users/{user.id}", json={"is_active": True}).json()["is_active"] is True
    assert key.get("/api/auth/me").status_code == 200
    refused(cookie.get("/api/auth/me"), 401)
    assert people.login(user.email).status_code == 200


def _secrets(people: People) -> Any:
    return people.client.application.runtime.secrets


def test_an_operator_is_made_and_unmade_from_the_next_request_on(people: People, refused: Refusals) -> None:
    """With the session they have already."""
    root, user = operator(people), people.make("ada@example.com")
    ada = browser(people, user.email)
    refused(ada.get(USERS), 403)
    assert root.patch(f"/api/admin/users/{user.id}", json={"role": "admin"}).json()["role"] == "admin"
    assert ada.get(USERS).status_code == 200
    assert root.patch(f"/api/admin/users/{user.id}", json={"role": "user"}).json()["role"] == "user"
    refused(ada.get(USERS), 403)
    with transaction(people.engine, write=False) as session:
        told = session.scalars(select(AuditEntry).where(AuditEntry.action == "user.update")).all()
    assert [(entry.actor_email, entry.resource_id) for entry in told] == [(ROOT, user.uid)] * 2


@pytest.mark.parametrize("change", [{"is_active": False}, {"role": "user"}, {"role": "user", "is_active": True}])
def test_the_last_active_admin_stays(people: People, refused: Refusals, change: dict[str, Any]) -> None:
    """One that is switched off does not count; once there is another, they may go."""
    root = operator(people)
    me = root.get("/api/auth/me").json()["id"]
    people.make("off@example.com", is_admin=True, is_active=False)
    body = refused(root.patch(f"/api/admin/users/{me}", json=change), 400)
    assert "last active admin" in body["detail"]
    assert root.get(USERS).status_code == 200
    assert root.patch(f"/api/admin/users/{me}", json={"is_active": True, "role": "admin"}).status_code == 200
    people.make("second@example.com", is_admin=True)
    assert root.patch(f"/api/admin/users/{me}", json=change).status_code == 200


@pytest.mark.parametrize("change", [{"is_active": False}, {"role": "user"}])
def test_two_admins_who_unmake_each_other_at_once_leave_one(people: People, change: dict[str, Any]) -> None:
    """Each looks right by itself; together they would lock everybody out."""
    for round_ in range(4):
        pair = [people.make(f"{name}{round_}@example.com", is_admin=True) for name in "ab"]
        callers = [browser(people, user.email) for user in pair]
        with transaction(people.engine) as session:
            for user in session.scalars(select(User).where(User.id.not_in([user.id for user in pair]))):
                user.is_admin = False
        calls = [
            lambda c=caller, u=user: c.patch(f"/api/admin/users/{u.id}", json=change)
            for caller, user in zip(callers, reversed(pair), strict=True)
        ]
        assert min(answer.status_code for answer in at_once(*calls)) == 200
        with transaction(people.engine, write=False) as session:
            assert len(session.scalars(select(User).where(User.is_admin, User.is_active)).all()) == 1


def test_what_cannot_be_changed_is_refused(people: People, refused: Refusals) -> None:
    """Nobody of that number, nothing to change, nothing else to change."""
    root, user = operator(people), people.make("ada@example.com")
    refused(root.patch("/api/admin/users/999999", json={"is_active": False}), 404)
    refused(root.patch(f"/api/admin/users/{user.id}", json={}), 422)
    body = refused(root.patch(f"/api/admin/users/{user.id}", json={"email": "root2@example.com"}), 422)
    assert body["errors"] == [{"field": "email", "message": "is not a known field"}]
    refused(root.patch(f"/api/admin/users/{user.id}", json={"role": "owner"}), 422)


def test_only_admins_administer(people: People, admin: Caller, refused: Refusals) -> None:
    """By the cookie of somebody who is one, not switched off; other credentials have other doors."""
    user = people.make("ada@example.com")
    ada, suspended = browser(people, user.email), operator(people, "off@example.com")
    with transaction(people.engine) as session:
        session.get_one(User, suspended.get("/api/auth/me").json()["id"]).is_active = False
    people.client.application.runtime.authenticator.forget()
    for method, path in (("GET", USERS), ("GET", CODES), ("POST", CODES), ("PATCH", f"/api/admin/users/{user.id}")):
        body = {} if method == "GET" else {"json": {"is_active": False} if method == "PATCH" else {}}
        refused(ada.request(method, path, **body), 403)
        refused(suspended.request(method, path, **body), 403)
        refused(admin.request(method, path, **body), 401)
        refused(people.anonymous.request(method, path, **body), 401)
