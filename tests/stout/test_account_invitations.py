"""Coming in by an invitation to an org (`accept_invitation`)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.security.keys import fingerprint
from models.base import now, transaction
from models.orgs import Invitation, Membership, Org
from support.accounts import PASSWORD, People
from support.envelopes import Refusals

TOKEN = "b" * 43
HERE = f"/api/auth/invitations/{TOKEN}"
NEW = {"displayName": "Ada", "password": PASSWORD}


@dataclass(frozen=True)
class Invited:
    """An org and the id of a pending invitation into it."""

    org: Org
    id: int


@pytest.fixture
def invited(people: People) -> Invited:
    """Ada, who has no account, is invited to be an admin of Test Bench."""
    with transaction(people.engine) as session:
        org = Org(name="Test Bench", slug="test-bench")
        session.add(org)
        session.flush()
        row = Invitation(org_id=org.id, email="ada@example.com", role="admin", expires_at=now() + timedelta(days=7))
        row.token_hash = fingerprint(TOKEN, people.client.application.runtime.secrets.pepper)
        session.add(row)
        session.flush()
        return Invited(org, row.id)


def members(people: People, org: Org) -> list[tuple[int, str]]:
    """Who is in the org, and as what."""
    with transaction(people.engine, write=False) as session:
        held = select(Membership.user_id, Membership.role).where(Membership.org_id == org.id)
        return [(user_id, role) for user_id, role in session.execute(held)]


def test_an_invitation_can_be_looked_at(people: People, invited: Invited) -> None:
    """Somebody decides by the org, the role, and whether they have an account already."""
    shown = people.anonymous.get(HERE).json()
    assert {k: v for k, v in shown.items() if k != "expiresAt"} == {
        "orgName": "Test Bench", "email": "ada@example.com", "role": "admin", "accountExists": False,
    }  # fmt: skip
    people.make()
    assert people.anonymous.get(HERE).json()["accountExists"] is True


def test_accepting_makes_the_account(people: People, invited: Invited, refused: Refusals) -> None:
    """It doubles as a sign-up: the address is proven, the org is there, and so is the personal one."""
    held = people.holding(people.anonymous.post(f"{HERE}/accept", json=NEW))
    assert held.body["user"]["emailVerified"] is True
    mine = held.caller.get("/api/auth/me").json()["memberships"]
    assert [(m["org"]["name"], m["role"]) for m in mine] == [("Test Bench", "admin"), ("Ada", "owner")]
    refused(people.anonymous.get(HERE), 410)
    refused(people.anonymous.post(f"{HERE}/accept", json=NEW), 410)
    assert people.login().status_code == 200


def test_registering_with_the_token_is_the_same(people: People, invited: Invited, refused: Refusals) -> None:
    """An invitation admits its address only, even where sign-up is not open."""
    body = {"email": "eve@example.com", "displayName": "Eve", "password": PASSWORD, "invitationToken": TOKEN}
    refused(people.anonymous.post("/api/auth/register", json=body), 403)
    assert people.login("eve@example.com").status_code == 401
    assert people.anonymous.post("/api/auth/register", json=body | {"email": "ADA@example.com"}).status_code == 201
    assert [role for _, role in members(people, invited.org)] == ["admin"]


def test_who_has_an_account_signs_in_first(people: People, invited: Invited, refused: Refusals) -> None:
    """The mail alone must not open an account that exists, nor set its password."""
    user = people.make()
    refused(people.anonymous.post(f"{HERE}/accept", json=NEW), 401)
    assert people.enter().caller.post(f"{HERE}/accept").status_code == 200
    assert members(people, invited.org) == [(user.id, "admin")]


def test_somebody_else_cannot_accept(people: People, invited: Invited, refused: Refusals) -> None:
    """An invitation is for an address, not for whoever holds the link."""
    people.make("eve@example.com")
    refused(people.enter("eve@example.com").caller.post(f"{HERE}/accept"), 403)
    assert members(people, invited.org) == []
    assert people.anonymous.get(HERE).status_code == 200


def test_a_member_is_told_so(people: People, invited: Invited, refused: Refusals) -> None:
    """Accepting twice must not change a role."""
    user = people.make()
    with transaction(people.engine) as session:
        session.add(Membership(org_id=invited.org.id, user_id=user.id, role="member", desk_role="viewer"))
    refused(people.enter().caller.post(f"{HERE}/accept"), 409)
    assert members(people, invited.org) == [(user.id, "member")]


@pytest.mark.parametrize("change", [{"expires_at": 0}, {"status": "revoked"}])
def test_an_old_or_revoked_invitation_is_gone(
    people: People, invited: Invited, refused: Refusals, change: dict[str, object]
) -> None:
    """It dies at seven days, or when an admin takes it back."""
    values = change | ({"expires_at": now()} if "expires_at" in change else {})
    with transaction(people.engine) as session:
        session.execute(update(Invitation).where(Invitation.id == invited.id).values(**values))
    refused(people.anonymous.get(HERE), 410)
    refused(people.anonymous.post(f"{HERE}/accept", json=NEW), 410)


def test_of_many_acceptances_at_once_one_counts(people: People, invited: Invited) -> None:
    """A double click makes one account and one membership."""
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: people.anonymous.post(f"{HERE}/accept", json=NEW).status_code, range(6)))
    assert answers.count(200) == 1
    assert set(answers) <= {200, 401, 409, 410}
    assert len(members(people, invited.org)) == 1


def test_a_new_account_needs_a_name_and_a_password(people: People, invited: Invited, refused: Refusals) -> None:
    """Both are told at once."""
    body = refused(people.anonymous.post(f"{HERE}/accept"), 400)
    assert {tuple(issue["path"]) for issue in body["issues"]} == {("body", "displayName"), ("body", "password")}
    assert {issue["message"] for issue in body["issues"]} == {"Required"}
