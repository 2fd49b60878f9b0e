"""The copy of everything kept about a person: whole, one's own alone, and without a secret."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.services import personal_export
from models.audit import AuditEntry
from models.base import Base, now, transaction
from models.identity import User
from models.sessions import SshKey
from support.accounts import PASSWORD, People, cookies_of, value_of
from support.belongings import SAID, found, furnish, join
from support.callers import Caller
from support.envelopes import Refusals

ADA = "ada@example.com"
SECRETIVE = ("hash", "secret", "sealed", "pepper")


def browser(people: People, email: str = ADA) -> Caller:
    """Somebody signed in by cookie."""
    return people.by_cookie(value_of(cookies_of(people.login(email))["outsend_session"]))


def secrets_in(engine: Engine) -> set[str]:
    """Every value of a column that is called after a secret."""
    tables = Base.metadata.sorted_tables
    columns = [c for table in tables for c in table.columns if any(word in c.name for word in SECRETIVE)]
    with engine.connect() as connection:
        return {str(v) for c in columns for v in connection.scalars(select(c)) if v and c.name != "hash_algorithm"}


@pytest.fixture
def ada(people: People) -> Caller:
    """Somebody who has one of everything, beside somebody else who has as well."""
    user, bea = people.make(), people.make("bea@example.com")
    org = found(people)
    join(people, org, user, bea)
    furnish(people, user, org)
    return browser(people)


def test_the_copy_holds_something_of_every_kind(people: People, ada: Caller) -> None:
    """One JSON document, to be kept as a file, in this dialect's words and times."""
    answer = ada.get("/api/auth/export")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-disposition"] == 'attachment; filename="account.json"'
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body["account"]["email"] == ADA
    assert body["exported_at"].endswith("Z")
    assert len(body["exported_at"]) == 20
    empty = {section.name for section in personal_export.SECTIONS if not body[section.name]}
    assert empty == set()
    assert {org["slug"] for org in body["organizations"]} == {"acme", "ada"}
    [call] = body["model_calls"]
    assert (call["request"], call["response"], call["cost_usd"]) == (SAID, "\ufffd" + SAID, 5e-09)
    [spent] = body["spend"]
    assert (spent["requests"], spent["day"]) == (1, now().date().isoformat())


def test_the_copy_holds_no_secret(people: People, ada: Caller) -> None:
    """Not a password, a key or a token, and nothing stored that was made of one."""
    people.anonymous.post("/api/auth/password/reset/request", json={"email": ADA})
    text = ada.get("/api/auth/export").text
    held = secrets_in(people.engine)
    assert len(held) > 10
    assert [value for value in held if value in text] == []
    for secret in (PASSWORD, ada.headers["cookie"].partition("=")[2], people.token(ADA, "password_reset")):
        assert secret not in text


def test_the_copy_is_ones_own(people: People, ada: Caller) -> None:
    """Somebody else's is theirs; of what both share each finds the own part."""
    body = browser(people, "bea@example.com").get("/api/auth/export").json()
    assert body["account"]["email"] == "bea@example.com"
    assert [org["slug"] for org in body["organizations"]] == ["acme", "bea"]
    shared = {"organizations", "sessions", "browser_sessions", "activity"}
    assert {name for name, rows in body.items() if isinstance(rows, list) and rows} == shared
    assert ADA not in str(body)


def test_a_copy_that_was_asked_for_is_written_down(people: People, ada: Caller) -> None:
    """A thief who took one leaves a trace."""
    ada.get("/api/auth/export")
    with transaction(people.engine, write=False) as session:
        [entry] = session.scalars(select(AuditEntry).where(AuditEntry.action == "user.export"))
    assert entry.actor_email == ADA


def test_much_is_read_some_at_a_time(people: People) -> None:
    """Each row once and in order, however many; never all of them in memory."""
    user = people.make()
    keys = [SshKey(user_id=user.id, name=f"k{n}", public_key="x", fingerprint=f"f{n}") for n in range(401)]
    with transaction(people.engine) as session:
        session.add_all(keys)
    parts = list(personal_export.pieces(people.engine, user))
    assert max(part.count(b'"fingerprint"') for part in parts) == personal_export.AT_ONCE
    body = browser(people).get("/api/auth/export").json()
    assert [row["name"] for row in body["ssh_keys"]] == [f"k{n}" for n in range(401)]


def test_an_account_switched_off_still_gets_its_copy(people: People, refused: Refusals) -> None:
    """The right to it does not end with the right to use the server; a stranger has neither."""
    people.make()
    here = browser(people)
    with transaction(people.engine) as session:
        session.get_one(User, here.get("/api/auth/me").json()["id"]).is_active = False
    people.client.application.runtime.authenticator.forget()
    answer: Any = here.get("/api/auth/export")
    assert (answer.status_code, answer.json()["account"]["is_active"]) == (200, False)
    refused(people.anonymous.get("/api/auth/export"), 401)
