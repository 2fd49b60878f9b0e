"""Registering, confirming an address, choosing a new password, SSH keys."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from sqlalchemy import update

from models.base import now, transaction
from models.sessions import OneTimeToken
from support.accounts import PASSWORD, People
from support.callers import Caller
from support.envelopes import Refusals

ADA = {"email": "Ada@Example.com", "password": PASSWORD, "displayName": "Ada"}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
FINGERPRINT = "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"
OPEN = pytest.mark.settings(signup="open")


@OPEN
def test_registering_opens_a_session_and_asks_for_proof(people: People) -> None:
    """The account works at once; its address counts once the mailed token came back."""
    answer = people.anonymous.post("/api/auth/register", json=ADA)
    assert answer.status_code == 201
    held = people.holding(answer)
    assert held.body["user"]["email"] == "ada@example.com"
    assert held.body["user"]["emailVerified"] is False
    assert set(held.cookies) == {"refresh_token"}
    [membership] = held.caller.get("/api/auth/me").json()["memberships"]
    assert (membership["org"]["name"], membership["role"]) == ("Ada", "owner")
    token = people.token("ada@example.com", "verification")
    assert people.anonymous.post("/api/auth/verify-email", json={"token": token}).json()["emailVerified"] is True


@OPEN
def test_an_address_is_taken_once_in_any_case(people: People, refused: Refusals) -> None:
    """The refusal names the field that clashed."""
    people.make()
    body = refused(people.anonymous.post("/api/auth/register", json=ADA), 409, "conflict")
    assert "email" in body["message"]
    assert body["field"] == "email"


@pytest.mark.parametrize(("field", "value", "message"), [
    ("email", None, "Required"), ("email", "no address", "Invalid email"),
    ("password", "x" * 7, "String must contain at least 8 character(s)"),
    ("password", "x" * 129, "String must contain at most 128 character(s)"),
    ("displayName", 5, "Expected string, received number"),
    ("isAdmin", True, "Unrecognized key(s) in object: 'isAdmin'"),
])  # fmt: skip
@OPEN
def test_what_is_wrong_is_told_in_zods_words(
    people: People, refused: Refusals, field: str, value: object, message: str
) -> None:
    """Clients show these sentences beside the field."""
    sent = {k: v for k, v in (ADA | {field: value}).items() if v is not None}
    body = refused(people.anonymous.post("/api/auth/register", json=sent), 400)
    assert body["issues"] == [{"path": ["body", field], "message": message}]


@OPEN
def test_passwords_of_eight_and_of_128_are_taken(people: People) -> None:
    """Both bounds belong to the rule."""
    for number, password in enumerate(("x" * 8, "ß" * 128)):
        account = ADA | {"email": f"p{number}@example.com", "password": password}
        assert people.anonymous.post("/api/auth/register", json=account).status_code == 201
        assert people.login(f"p{number}@example.com", password).status_code == 200


def test_strangers_cannot_register_uninvited(people: People, admin: Caller, refused: Refusals) -> None:
    """By default an account needs an operator or an invitation."""
    refused(people.anonymous.post("/api/auth/register", json=ADA), 403)
    refused(people.anonymous.post("/api/auth/register", json=ADA | {"invitationToken": "x" * 43}), 410)
    assert admin.post("/api/auth/register", json=ADA).status_code == 201


def test_a_verification_token_works_once_and_the_newest_only(people: People, refused: Refusals) -> None:
    """A mail that was forwarded, found or superseded is worth nothing."""
    people.make(email_verified=False)
    held = people.enter()
    verify, resend = "/api/auth/verify-email", "/api/auth/resend-verification"
    assert held.caller.post(resend).status_code == 202
    older = people.token("ada@example.com", "verification")
    held.caller.post(resend)
    newer = people.token("ada@example.com", "verification")
    refused(people.anonymous.post(verify, json={"token": older}), 410)
    assert people.anonymous.post(verify, json={"token": newer}).status_code == 200
    refused(people.anonymous.post(verify, json={"token": newer}), 410)
    refused(held.caller.post(resend), 409)


@pytest.mark.parametrize(("kind", "life"), [("verify", timedelta(hours=48)), ("reset", timedelta(hours=1))])
def test_tokens_end_by_themselves(people: People, refused: Refusals, kind: str, life: timedelta) -> None:
    """An old mailbox must not open an account."""
    people.make(email_verified=False)
    people.anonymous.post("/api/auth/forgot-password", json={"email": "ada@example.com"})
    people.enter().caller.post("/api/auth/resend-verification")
    path, mail = {"verify": ("verify-email", "verification"), "reset": ("reset-password", "password_reset")}[kind]
    with transaction(people.engine) as session:
        mine = update(OneTimeToken).where(OneTimeToken.purpose == kind)
        left = session.scalar(mine.values(tries=0).returning(OneTimeToken.expires_at)) - now()
        session.execute(mine.values(expires_at=now()))
    assert life - timedelta(minutes=1) < left <= life
    sent = {"token": people.token("ada@example.com", mail)} | ({"newPassword": "y" * 12} if kind == "reset" else {})
    refused(people.anonymous.post(f"/api/auth/{path}", json=sent), 410)


def test_forgetting_tells_nothing_of_who_has_an_account(people: People) -> None:
    """Same status, same body, same time."""
    people.make()
    answers, times = [], []
    for email in ("ada@example.com", "nobody@example.com") * 2:
        begun = time.perf_counter()
        answers.append(people.anonymous.post("/api/auth/forgot-password", json={"email": email}))
        times.append(time.perf_counter() - begun)
    assert {(answer.status_code, answer.content) for answer in answers} == {(202, b'{"accepted":true}')}
    assert max(times) - min(times) < 0.1
    assert min(times) >= 0.15
    assert people.mails("ada@example.com", "password_reset")
    assert not people.mails("nobody@example.com")


def test_a_reset_ends_every_session_and_works_once(people: People, refused: Refusals) -> None:
    """Whoever has the mailbox takes the account back; whoever had the account is out."""
    people.make()
    thief = people.enter()
    people.anonymous.post("/api/auth/forgot-password", json={"email": "ADA@example.com"})
    reset = {"token": people.token("ada@example.com", "password_reset"), "newPassword": "staple battery horse"}
    assert people.anonymous.post("/api/auth/reset-password", json=reset).status_code == 204
    refused(thief.caller.get("/api/auth/me"), 401)
    refused(people.refresh(thief.refresh), 401)
    refused(people.login(), 401)
    assert people.login(password="staple battery horse").status_code == 200
    refused(people.anonymous.post("/api/auth/reset-password", json=reset), 410)


def test_changing_the_password_voids_a_reset(people: People, refused: Refusals) -> None:
    """A reset mail in a thief's hands dies with the old password."""
    people.make()
    people.anonymous.post("/api/auth/forgot-password", json={"email": "ada@example.com"})
    token = people.token("ada@example.com", "password_reset")
    body = {"currentPassword": PASSWORD, "newPassword": "staple battery horse"}
    people.enter().caller.post("/api/auth/change-password", json=body)
    refused(people.anonymous.post("/api/auth/reset-password", json={"token": token, "newPassword": "z" * 9}), 410)


def test_ssh_keys_are_added_listed_and_removed(people: People, refused: Refusals) -> None:
    """The fingerprint is the one `ssh-keygen -l` shows; a key belongs to one account."""
    user = people.make()
    people.make("eve@example.com")
    held, eve = people.enter(), people.enter("eve@example.com")
    added = held.caller.post("/api/auth/ssh-keys", json={"name": "laptop", "publicKey": f"{KEY} ada@laptop\n"})
    assert added.status_code == 201
    assert added.headers["location"] == f"/api/auth/ssh-keys/{added.json()['id']}"
    assert added.json() | {"id": "", "createdAt": ""} == {
        "id": "", "userId": user.uid, "name": "laptop", "publicKey": f"{KEY} ada@laptop", "fingerprint": FINGERPRINT,
        "createdAt": "",
    }  # fmt: skip
    assert held.caller.get("/api/auth/ssh-keys").json()["items"] == [added.json()]
    for caller in (held.caller, eve.caller):
        body = refused(caller.post("/api/auth/ssh-keys", json={"name": "again", "publicKey": KEY}), 409)
        assert body["field"] == "publicKey"
    refused(eve.caller.delete(added.headers["location"]), 404)
    assert held.caller.delete(added.headers["location"]).status_code == 204
    refused(held.caller.delete(added.headers["location"]), 404)


@pytest.mark.parametrize("text", [
    "no key", "ssh-ed25519 AAAA", 'command="rm -rf /" ' + KEY, "-----BEGIN OPENSSH PRIVATE KEY-----", "ssh-rsa " + KEY,
])  # fmt: skip
def test_only_public_keys_are_taken(people: People, refused: Refusals, text: str) -> None:
    """Options before a key would run on every box."""
    people.make()
    body = refused(people.enter().caller.post("/api/auth/ssh-keys", json={"name": "x", "publicKey": text}), 400)
    assert body["issues"] == [{"path": ["body", "publicKey"], "message": "Invalid ssh-public-key"}]


def test_a_malformed_id_is_told_where_it_stands(people: People, refused: Refusals) -> None:
    """The first word of the path says that it was the URL."""
    people.make()
    body = refused(people.enter().caller.delete("/api/auth/ssh-keys/7"), 400)
    assert body["issues"] == [{"path": ["params", "sshKeyId"], "message": "Invalid uuid"}]


def test_every_list_holds_to_its_bounds(people: People, refused: Refusals) -> None:
    """limit=100 is the most; 101 is told as such."""
    people.make()
    caller = people.enter().caller
    for path in ("/api/auth/sessions", "/api/auth/ssh-keys"):
        assert caller.get(path, params={"limit": 100}).json()["limit"] == 100
        assert caller.get(path).json()["limit"] == 20
        refused(caller.get(path, params={"limit": 101}), 400)
        assert caller.get(path, params={"page": 9}).json()["items"] == []
