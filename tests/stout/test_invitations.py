"""Invitations into an organization: sent, sent again, taken back, and what becomes of them.

Operations: `list_invitations`, `create_invitation`, `resend_invitation`, `revoke_invitation`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from models.base import now, transaction
from models.orgs import Invitation
from support.accounts import PASSWORD, People
from support.envelopes import Refusals
from support.orgs import Orgs, Seat

GRACE = "grace@example.com"
NEW = {"displayName": "Grace", "password": PASSWORD}


@pytest.fixture
def invited(owner: Seat, people: People) -> dict[str, Any]:
    """Grace, who has no account, is invited to be a member."""
    return owner.post("/invitations", email=GRACE, role="member")


def token(people: People) -> str:
    """The token last mailed to Grace."""
    return people.token(GRACE, "invitation")


def accept(people: People, text: str) -> Any:
    """The answer to accepting with a new account."""
    return people.anonymous.post(f"/api/auth/invitations/{text}/accept", json=NEW)


def let_expire(people: People, invitation: dict[str, Any]) -> None:
    """Seven days later."""
    with transaction(people.engine) as session:
        session.execute(update(Invitation).where(Invitation.uid == invitation["id"]).values(expires_at=now()))


def statuses(seat: Seat, **asked: Any) -> list[str]:
    """What has become of the org's invitations, newest first."""
    return [item["status"] for item in seat.get("/invitations", **asked)["items"]]


def test_an_invitation_leads_in(owner: Seat, people: People, invited: dict[str, Any]) -> None:
    """The token is in the mail and nowhere else; whoever has it is in, in the role that was meant."""
    assert (invited["email"], invited["role"], invited["status"]) == (GRACE, "member", "pending")
    assert (invited["orgId"], invited["invitedById"]) == (owner.org.uid, owner.user.uid)
    assert token(people) not in str(invited)
    assert "acceptedAt" not in invited
    shown = people.anonymous.get(f"/api/auth/invitations/{token(people)}").json()
    assert (shown["orgName"], shown["role"]) == (owner.org.name, "member")
    grace = people.holding(accept(people, token(people)))
    assert grace.caller.get(f"/api/orgs/{owner.org.uid}").json()["role"] == "member"
    [told] = owner.get("/invitations")["items"]
    assert told["status"] == "accepted"
    assert told["acceptedAt"] >= invited["createdAt"]
    assert [action for action, _ in owner.acts()] == ["member.join", "member.invite"]


def test_the_mail_says_who_invites_and_where(owner: Seat, people: People, invited: dict[str, Any]) -> None:
    """Somebody who gets it knows neither us nor the org."""
    [mail] = people.mails(GRACE, "invitation")
    assert mail.subject == f"You are invited to {owner.org.name}"
    for told in (
        owner.user.name,
        owner.user.email,
        owner.org.name,
        "a member",
        f"/api/auth/invitations/{token(people)}",
    ):
        assert told in mail.body


def test_an_invitation_is_good_for_seven_days(owner: Seat, people: People, invited: dict[str, Any]) -> None:
    """Not a minute longer."""
    life = datetime.fromisoformat(invited["expiresAt"]) - datetime.fromisoformat(invited["createdAt"])
    assert abs(life - timedelta(days=7)) < timedelta(seconds=5)
    let_expire(people, invited)
    assert accept(people, token(people)).status_code == 410
    assert statuses(owner) == statuses(owner, status="expired") == ["expired"]
    assert statuses(owner, status="pending") == []


@pytest.mark.parametrize(("by", "role", "status"), [
    ("owner", "owner", 201), ("owner", "admin", 201), ("admin", "admin", 201), ("admin", "member", 201),
    ("admin", "owner", 403), ("member", "member", 403),
])  # fmt: skip
def test_who_may_invite_whom(orgs: Orgs, owner: Seat, people: People, by: str, role: str, status: int) -> None:
    """Inviting an owner makes one, which admins do not."""
    answer = orgs.seat(owner.org, by).ask("POST", "/invitations", json={"email": GRACE, "role": role})
    assert answer.status_code == status
    assert len(people.mails(GRACE)) == (status == 201)


def test_who_has_not_confirmed_their_address_invites_nobody(orgs: Orgs, owner: Seat, refused: Refusals) -> None:
    """Otherwise anybody could send our mail in any name."""
    unsure = orgs.seat(owner.org, "owner", email_verified=False)
    refused(unsure.ask("POST", "/invitations", json={"email": GRACE, "role": "member"}), 403)
    assert owner.get("/invitations")["total"] == 0


@pytest.mark.parametrize(("sent", "path", "message"), [
    ({"role": "member"}, ["body", "email"], "Required"),
    ({"email": "nobody", "role": "member"}, ["body", "email"], "Invalid email"),
    ({"email": GRACE, "role": "boss"}, ["body", "role"], "Invalid enum value. Expected 'member' | 'admin' | 'owner'"),
])  # fmt: skip
def test_what_is_wrong_is_told(
    owner: Seat, refused: Refusals, sent: dict[str, str], path: list[str], message: str
) -> None:
    """Where, and in Zod's words."""
    [issue] = refused(owner.ask("POST", "/invitations", json=sent), 400)["issues"]
    assert issue["path"] == path
    assert issue["message"].startswith(message)


def test_an_address_has_one_pending_invitation(owner: Seat, invited: dict[str, Any], refused: Refusals) -> None:
    """In any case; the refusal names the field."""
    body = refused(owner.ask("POST", "/invitations", json={"email": "GRACE@example.com", "role": "admin"}), 409)
    assert (body["field"], "email" in body["message"]) == ("email", True)
    assert owner.get("/invitations")["items"] == [invited]


def test_members_are_not_invited(orgs: Orgs, owner: Seat, people: People, refused: Refusals) -> None:
    """They are in; another role is given otherwise."""
    orgs.seat(owner.org, "member", GRACE)
    body = refused(owner.ask("POST", "/invitations", json={"email": "Grace@Example.com", "role": "admin"}), 409)
    assert body["field"] == "email"
    assert owner.get("/invitations")["total"] == len(people.mails(GRACE)) == 0


def test_of_many_at_once_one_invites(owner: Seat, people: People) -> None:
    """A double click sends one mail."""
    body = {"email": GRACE, "role": "member"}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: owner.ask("POST", "/invitations", json=body).status_code, range(4)))
    assert sorted(answers) == [201, 409, 409, 409]
    assert len(people.mails(GRACE)) == 1


def test_resending_kills_the_old_link(owner: Seat, people: People, invited: dict[str, Any]) -> None:
    """A mail that went astray is worth nothing; the new one has its own seven days."""
    old = token(people)
    answer = owner.ask("POST", f"/invitations/{invited['id']}/resend")
    assert (answer.status_code, answer.json()["id"]) == (200, invited["id"])
    assert answer.json()["expiresAt"] > invited["expiresAt"]
    assert accept(people, old).status_code == 410
    assert accept(people, token(people)).status_code == 200
    assert owner.acts(action="invitation.resend") == [("invitation.resend", invited["id"])]


def test_an_expired_invitation_is_brought_back(owner: Seat, people: People, invited: dict[str, Any]) -> None:
    """By resending it."""
    let_expire(people, invited)
    assert owner.post(f"/invitations/{invited['id']}/resend")["status"] == "pending"
    assert accept(people, token(people)).status_code == 200


def test_after_an_expired_invitation_there_is_another(
    owner: Seat, people: People, invited: dict[str, Any], refused: Refusals
) -> None:
    """The old one stays what it is, and cannot come back beside the new one."""
    let_expire(people, invited)
    assert owner.post("/invitations", email=GRACE, role="admin")["id"] != invited["id"]
    assert statuses(owner) == ["pending", "expired"]
    assert refused(owner.ask("POST", f"/invitations/{invited['id']}/resend"), 409)["field"] == "email"
    assert statuses(owner) == ["pending", "expired"]


def test_who_joined_otherwise_gets_no_second_mail(
    orgs: Orgs, owner: Seat, people: People, invited: dict[str, Any], refused: Refusals
) -> None:
    """An expired invitation of somebody who is in by now."""
    let_expire(people, invited)
    orgs.seat(owner.org, "member", GRACE)
    refused(owner.ask("POST", f"/invitations/{invited['id']}/resend"), 409)
    assert len(people.mails(GRACE)) == 1


def test_admins_do_not_resend_what_makes_an_owner(orgs: Orgs, owner: Seat, people: People, refused: Refusals) -> None:
    """Nor does anybody who has not confirmed their address."""
    made = owner.post("/invitations", email=GRACE, role="owner")
    for seat in (orgs.seat(owner.org, "admin"), orgs.seat(owner.org, "owner", email_verified=False)):
        refused(seat.ask("POST", f"/invitations/{made['id']}/resend"), 403)
    assert len(people.mails(GRACE)) == 1


def test_a_revoked_invitation_is_over(owner: Seat, people: People, invited: dict[str, Any], refused: Refusals) -> None:
    """Its token is dead, it cannot be sent again, and the address may be invited anew."""
    path = f"/invitations/{invited['id']}"
    assert owner.ask("DELETE", path).status_code == 204
    assert accept(people, token(people)).status_code == 410
    assert statuses(owner) == statuses(owner, status="revoked") == ["revoked"]
    assert "revoked" in refused(owner.ask("DELETE", path), 409)["message"]
    refused(owner.ask("POST", f"{path}/resend"), 409)
    assert owner.ask("POST", "/invitations", json={"email": GRACE, "role": "member"}).status_code == 201
    assert owner.acts()[1] == ("invitation.revoke", invited["id"])


def test_what_was_accepted_is_neither_resent_nor_revoked(
    owner: Seat, people: People, invited: dict[str, Any], refused: Refusals
) -> None:
    """Who is in is removed as a member."""
    accept(people, token(people))
    path = f"/invitations/{invited['id']}"
    for answer in (owner.ask("DELETE", path), owner.ask("POST", f"{path}/resend")):
        assert "accepted" in refused(answer, 409)["message"]
    assert statuses(owner, status="accepted") == ["accepted"]


def test_accepting_and_revoking_exclude_each_other(orgs: Orgs, owner: Seat, people: People) -> None:
    """Somebody is in, or was told that the invitation is over; never both."""
    for number in range(5):
        guest = orgs.seat(owner.org, email=f"guest{number}@example.com")
        made = owner.post("/invitations", email=guest.user.email, role="member")
        path = f"/api/auth/invitations/{people.token(guest.user.email, 'invitation')}/accept"
        with ThreadPoolExecutor(2) as pool:
            revoking = pool.submit(owner.ask, "DELETE", f"/invitations/{made['id']}")
            accepting = pool.submit(guest.caller.post, path)
        outcome = (revoking.result().status_code, accepting.result().status_code)
        assert outcome in {(204, 410), (409, 200)}
        assert statuses(owner)[0] == ("revoked" if outcome[0] == 204 else "accepted")


def test_members_see_invitations_and_change_none(orgs: Orgs, invited: dict[str, Any], owner: Seat) -> None:
    """Reading is every member's; what mails or ends is the admins'."""
    member, path = orgs.seat(owner.org, "member"), f"/invitations/{invited['id']}"
    assert member.get("/invitations")["items"] == [invited]
    assert member.ask("DELETE", path).status_code == member.ask("POST", f"{path}/resend").status_code == 403


def test_another_orgs_invitations_are_not_found(orgs: Orgs, invited: dict[str, Any], refused: Refusals) -> None:
    """An id from elsewhere leads nowhere."""
    other = orgs.seat(orgs.make("lab"), "owner")
    refused(other.ask("DELETE", f"/invitations/{invited['id']}"), 404)
    refused(other.ask("POST", f"/invitations/{invited['id']}/resend"), 404)
    assert other.get("/invitations")["items"] == []
