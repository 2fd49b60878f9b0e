"""Erasing an account: everything of the person goes at once, what others need stays without the name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.gateway.cache.memory import Kept
from app.gateway.wire import Usage
from app.services import erasure
from models.audit import AuditEntry
from models.base import Base, transaction
from models.desk import Incident, IncidentNote
from models.identity import User
from models.observing import CohortMember, CostCell, UsualCall
from models.orgs import Membership, Org
from models.traces import SpendRollup, Trace, TraceBody
from models.training import TrainingCall
from support.accounts import PASSWORD, People, cookies_of, value_of
from support.belongings import SAID, found, furnish, join
from support.callers import Caller
from support.envelopes import Refusals
from support.together import at_once

ADA, BEA = "ada@example.com", "bea@example.com"
ACCOUNT, SURE = "/api/auth/account", {"password": PASSWORD}


def browser(people: People, email: str = ADA) -> Caller:
    """Somebody signed in by cookie."""
    return people.by_cookie(value_of(cookies_of(people.login(email))["outsend_session"]))


def everything(people: People) -> str:
    """The whole database, as text."""
    with people.engine.connect() as connection:
        return str([(table.name, connection.execute(select(table)).all()) for table in Base.metadata.sorted_tables])


def rows(people: People, model: Any) -> list[Any]:
    """All rows of a table."""
    with transaction(people.engine, write=False) as session:
        return list(session.scalars(select(model)))


@pytest.fixture
def furnished(people: People) -> Org:
    """An org of two, one of whom, Ada, has one of everything."""
    user, bea = people.make(), people.make(BEA)
    org = found(people)
    join(people, org, user)
    join(people, org, bea, role="owner")
    furnish(people, user, org)
    return org


def test_nothing_of_the_person_is_left(people: People, furnished: Org, refused: Refusals) -> None:
    """Neither name nor address, address of the network, or what was said; every credential is dead."""
    fleet, here = people.enter(), browser(people)
    for word in (ADA, "192.0.2.7", SAID):
        assert word in everything(people)
    answer = here.request("DELETE", ACCOUNT, json=SURE)
    assert (answer.status_code, answer.content) == (204, b"")
    assert all("Max-Age=0" in cookie for cookie in cookies_of(answer).values())
    left = everything(people).replace("x" + ADA, "")  # somebody else
    for word in (ADA, ADA.upper(), "192.0.2.7", SAID, "'Ada'"):
        assert word not in left
    for caller in (here, fleet.caller):
        refused(caller.get("/api/auth/me"), 401)
    refused(people.refresh(fleet.refresh), 401)
    refused(people.login(), 401)


def test_no_worker_gives_what_the_person_was_answered(people: People, furnished: Org) -> None:
    """Answers that were kept in memory are forgotten with their user."""
    memory = people.client.application.runtime.gateway.answers.memory
    memory.put(b"k", SAID.encode(), Kept({}, Usage(), 1, "openai", memory.expiry(60)), 10)
    assert browser(people).request("DELETE", ACCOUNT, json=SURE).status_code == 204
    assert people.client.anonymous.get("/health").status_code == 200  # what was asked for before is done by then
    assert memory.size == (0, 0)


def test_what_others_need_stays_without_the_name(people: People, furnished: Org) -> None:
    """The org with its tickets, the trail of what was done, and what calls cost."""
    uid = next(user.uid for user in rows(people, User) if user.email == ADA)
    browser(people).request("DELETE", ACCOUNT, json=SURE)
    assert [org.slug for org in rows(people, Org)] == ["acme"]
    [incident], [note] = rows(people, Incident), rows(people, IncidentNote)
    assert (incident.opened_by, incident.assigned_to, note.author) == (erasure.ERASED, None, erasure.ERASED)
    told = {entry.action: entry for entry in rows(people, AuditEntry)}
    assert told["user.erase"].resource_id == uid
    assert told["box.register"].details == {"kept": "yes"}
    assert told["box.register"].org_id == furnished.id
    assert told["member.add"].details == {"people": [{"address": erasure.ERASED}, "x" + ADA], "role": "member"}
    assert {told[name].actor_id for name in ("user.erase", "auth.login_failed", "box.register")} == {None}
    [trace] = rows(people, Trace)
    assert (trace.user_id, trace.key_id, trace.details, trace.cost_nano) == (None, None, {}, 5)
    assert not any(rows(people, model) for model in (TraceBody, UsualCall, TrainingCall, CohortMember))
    assert rows(people, SpendRollup)
    [cell] = rows(people, CostCell)
    assert (cell.user_id, cell.model, cell.calls, cell.cost_nano) == (0, "sandbox", 1, 5)


def test_the_trail_of_an_org_outlives_it(people: People) -> None:
    """An account cannot be used to do away with the evidence."""
    people.make()
    here = browser(people)
    [mine] = [member.org_id for member in rows(people, Membership)]
    with transaction(people.engine) as session:
        session.add(AuditEntry(action="box.remove", resource_type="box", org_id=mine))
    assert here.request("DELETE", ACCOUNT, json=SURE).status_code == 204
    [entry] = [entry for entry in rows(people, AuditEntry) if entry.action == "box.remove"]
    assert entry.org_id is None


def test_a_wrong_password_erases_nothing(people: People, furnished: Org, refused: Refusals) -> None:
    """A browser left open is not enough."""
    here = browser(people)
    assert refused(here.request("DELETE", ACCOUNT, json={"password": "wrong"}), 400)["detail"]
    refused(here.request("DELETE", ACCOUNT, json={}), 422)
    refused(people.anonymous.request("DELETE", ACCOUNT, json=SURE), 401)
    assert here.get("/api/auth/me").json()["email"] == ADA


def test_the_last_owner_is_told_what_to_do_first(people: People, refused: Refusals) -> None:
    """An org with others in it must not be left without anybody who can run it."""
    ada, bea = people.make(), people.make(BEA)
    org = found(people)
    join(people, org, ada, role="owner")
    join(people, org, bea)
    here = browser(people)
    body = refused(here.request("DELETE", ACCOUNT, json=SURE), 400)
    assert "last owner of Acme" in body["detail"]
    assert "make one of them an owner" in body["detail"]
    with transaction(people.engine) as session:
        session.scalars(select(Membership).where(Membership.user_id == bea.id)).one().role = "owner"
    assert here.request("DELETE", ACCOUNT, json=SURE).status_code == 204
    assert [member.user_id for member in rows(people, Membership) if member.org_id == org.id] == [bea.id]


def test_of_two_owners_who_leave_at_once_one_stays(people: People) -> None:
    """Each sees the other as the owner who remains; only one may be right."""
    for number in range(4):
        pair = [people.make(f"{name}{number}@example.com") for name in "ab"]
        org = found(people, f"acme{number}")
        join(people, org, *pair, role="owner")
        join(people, org, people.make(f"c{number}@example.com"))
        callers = [browser(people, user.email) for user in pair]
        calls = [lambda c=caller: c.request("DELETE", ACCOUNT, json=SURE) for caller in callers]
        assert sorted(answer.status_code for answer in at_once(*calls)) == [204, 400]


def test_erasing_twice_at_once_is_done_once(people: People) -> None:
    """A double click is no fault of the server."""
    people.make()
    here = browser(people)
    calls = [lambda: here.request("DELETE", ACCOUNT, json=SURE)] * 2
    assert sorted(answer.status_code for answer in at_once(*calls)) == [204, 401]


def test_the_last_active_admin_stays(people: People, refused: Refusals) -> None:
    """As when switched off or unmade: somebody has to be able to run the server."""
    people.make(is_admin=True)
    here = browser(people)
    assert "last active admin" in refused(here.request("DELETE", ACCOUNT, json=SURE), 400)["detail"]
    people.make(BEA, is_admin=True)
    assert here.request("DELETE", ACCOUNT, json=SURE).status_code == 204


def test_files_go_with_the_account_and_not_before(
    people: People, refused: Refusals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A refused erasure leaves them; one that is gone already stops nothing."""
    user = people.make(is_admin=True)
    kept, missing = tmp_path / "result.csv", tmp_path / "missing.csv"
    kept.write_text("rows")
    asked: list[tuple[int, int]] = []

    def files(owner: User, orgs: Any) -> list[Path]:
        asked.append((owner.id, len(orgs)))
        return [missing, kept]

    monkeypatch.setattr(erasure, "FILES", [files])
    here = browser(people)
    refused(here.request("DELETE", ACCOUNT, json=SURE), 400)
    assert kept.exists()
    people.make(BEA, is_admin=True)
    assert here.request("DELETE", ACCOUNT, json=SURE).status_code == 204
    assert not kept.exists()
    assert asked == [(user.id, 1)]


def test_a_number_is_never_given_twice(people: People) -> None:
    """What was counted under it, or is still cached under it, would become the next user's."""
    user = people.make()
    assert browser(people).request("DELETE", ACCOUNT, json=SURE).status_code == 204
    assert people.make(BEA).id > user.id


def test_the_address_is_free_again(people: People, admin: Caller) -> None:
    """Whoever comes back starts anew."""
    people.make()
    browser(people).request("DELETE", ACCOUNT, json=SURE)
    again = {"email": ADA, "password": PASSWORD, "accept_responsibility": True}
    assert admin.post("/api/auth/signup", json=again).status_code == 200
