"""Signing up: with a first key, or with a password; by an operator, by a code, or where it is open."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app.services import joining
from models.base import now, transaction
from support.accounts import PASSWORD, People, cookies_of, value_of
from support.envelopes import Refusals

ADA: dict[str, Any] = {"email": " Ada@example.com ", "password": PASSWORD, "accept_responsibility": True}
OPEN = pytest.mark.settings(signup="open")


def code(people: People, uses: int = 1, **options: Any) -> str:
    """An invitation code."""
    expires_at = options.get("expires_at")
    with transaction(people.engine):
        return joining.issue_code(uses, expires_at, "", people.client.application.runtime.secrets).code


def sign_up(people: People, **fields: Any) -> Any:
    """The answer to signing up with a password."""
    return people.anonymous.post("/api/auth/signup", json=ADA | fields)


@OPEN
def test_a_password_signs_up_and_in(people: People) -> None:
    """The cookie works at once; the mail that proves the address is on its way."""
    answer = sign_up(people)
    assert answer.status_code == 200
    assert answer.json()["ok"] is True
    shown = answer.json()["user"]
    assert (shown["email"], shown["role"], shown["email_verified"]) == ("ada@example.com", "user", False)
    browser = people.by_cookie(value_of(cookies_of(answer)["outsend_session"]))
    assert browser.get("/api/auth/me").json()["id"] == shown["id"]
    assert people.token("ada@example.com", "verification")
    assert people.login().status_code == 200


@OPEN
def test_no_password_means_a_key(people: People) -> None:
    """Clients of the gateway sign up as ever: 201, and a key that works."""
    answer = people.anonymous.post("/api/auth/signup", json={"email": "ada@example.com"})
    assert answer.status_code == 201
    key = answer.json()["api_key"]["key"]
    assert people.client.bearing(key).get("/api/auth/me").json()["user"]["email"] == "ada@example.com"
    assert "set-cookie" not in answer.headers


def test_a_code_admits_as_often_as_it_says(people: People, refused: Refusals) -> None:
    """In any case of letters; then no more."""
    twice = code(people, uses=2)
    assert sign_up(people, invitation_code=twice.lower()).status_code == 200
    assert sign_up(people, email="bea@example.com", invitation_code=f" {twice}").status_code == 200
    body = refused(sign_up(people, email="eve@example.com", invitation_code=twice), 400)
    assert "invitation" in body["detail"]


def test_a_refused_signup_leaves_the_code_as_it_was(people: People, refused: Refusals) -> None:
    """An address that is taken must not cost an invitation."""
    people.make()
    once = code(people)
    refused(sign_up(people, invitation_code=once), 409)
    assert sign_up(people, email="bea@example.com", invitation_code=once).status_code == 200


def test_an_old_code_admits_nobody(people: People, refused: Refusals) -> None:
    """An operator who set an end meant it."""
    refused(sign_up(people, invitation_code=code(people, expires_at=now() - timedelta(seconds=1))), 400)


def test_strangers_need_an_invitation(people: People, admin: Any, refused: Refusals) -> None:
    """Each system's clients are told in its way; an operator needs no code."""
    body = refused(sign_up(people), 403)
    assert body["detail"] == body["error"]["message"]
    refused(people.anonymous.post("/api/auth/signup", json={"email": "ada@example.com"}), 401)
    assert admin.post("/api/auth/signup", json=ADA).status_code == 200


@pytest.mark.parametrize(("change", "field"), [
    ({"password": "letters only"[:7]}, "password"), ({"password": "abcdefgh"}, "password"),
    ({"password": "12345678"}, "password"), ({"accept_responsibility": False}, "accept_responsibility"),
    ({"accept_responsibility": None}, "accept_responsibility"), ({"email": "nowhere"}, "email"),
])  # fmt: skip
@OPEN
def test_each_failed_field_is_named(people: People, refused: Refusals, change: dict[str, Any], field: str) -> None:
    """A form shows the reason beside the field."""
    body = refused(sign_up(people, **change), 400)
    assert {error["field"] for error in body["errors"]} == {field}


@OPEN
def test_responsibility_must_be_accepted(people: People, refused: Refusals) -> None:
    """Leaving it out is not accepting it."""
    sent = {name: value for name, value in ADA.items() if name != "accept_responsibility"}
    refused(people.anonymous.post("/api/auth/signup", json=sent), 400)


@OPEN
def test_nobody_signs_up_to_a_paid_plan(people: People, refused: Refusals) -> None:
    """Plans are an operator's to give."""
    refused(sign_up(people, plan="enterprise"), 403)


@pytest.mark.settings(signup="open", rate_limits="on")
def test_three_signups_an_hour_from_one_address(people: People, refused: Refusals) -> None:
    """A script must not fill the server with accounts."""
    for number in range(3):
        assert sign_up(people, email=f"p{number}@example.com").status_code == 200
    refused(sign_up(people, email="p4@example.com"), 429)
