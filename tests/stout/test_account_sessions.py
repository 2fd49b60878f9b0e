"""Refresh tokens rotate, a second use ends everything, and sessions can be seen and ended."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from sqlalchemy import select, update

from models.audit import AuditEntry
from models.base import now, transaction
from models.sessions import RefreshSession
from support.accounts import PASSWORD, Held, People, value_of
from support.envelopes import Refusals


def works(held: Held) -> bool:
    """Whether the access token is still taken."""
    return held.caller.get("/api/auth/me").status_code == 200


def test_a_refresh_answers_the_next_pair(people: People) -> None:
    """The new tokens work, last as long as the first, and come by body and by cookie."""
    people.make()
    first = people.enter()
    second = people.holding(people.refresh(first.refresh))
    assert second.refresh != first.refresh
    assert second.body["expiresIn"] == 900
    assert value_of(second.cookies["refresh_token"]) == second.refresh
    assert works(second)
    with transaction(people.engine, write=False) as session:
        rows = session.scalars(select(RefreshSession).order_by(RefreshSession.id)).all()
    assert rows[0].replaced_by_id == rows[1].id
    assert rows[0].family == rows[1].family
    assert timedelta(days=7) - (rows[1].expires_at - now()) < timedelta(minutes=1)


def test_a_refresh_reads_the_cookie_and_the_body_first(people: People, refused: Refusals) -> None:
    """Browsers keep the token out of reach of scripts; a client that sends both means the body."""
    people.make()
    held = people.enter()
    browser = people.client.bearing(cookie=f"refresh_token={held.refresh}")
    refused(browser.post("/api/auth/refresh", json={"refreshToken": "x" * 43}), 401)
    assert browser.post("/api/auth/refresh").status_code == 200


def test_a_replay_ends_every_session_of_the_user(people: People, refused: Refusals) -> None:
    """One of the two who hold the token is a thief; nobody can tell which, so both start again."""
    people.make()
    bystander = people.make("bea@example.com")
    stolen, elsewhere, other = people.enter(), people.enter(), people.enter(bystander.email)
    following = people.holding(people.refresh(stolen.refresh))
    refused(people.refresh(stolen.refresh), 401)
    for held in (following, elsewhere):
        refused(people.refresh(held.refresh), 401)
        assert not works(held)
    refused(people.by_cookie(value_of(elsewhere.cookies["outsend_session"])).get("/api/auth/me"), 401)
    assert works(other)
    with transaction(people.engine, write=False) as session:
        assert "auth.refresh_reuse" in session.scalars(select(AuditEntry.action)).all()
        reasons = set(session.scalars(select(RefreshSession.revoke_reason)).all())
    assert reasons == {"reuse", None}


def test_a_dead_token_cannot_end_later_sessions(people: People, refused: Refusals) -> None:
    """Whoever found an old token must not be able to lock its user out again and again."""
    people.make()
    old = people.enter()
    people.refresh(old.refresh)
    refused(people.refresh(old.refresh), 401)
    later = people.enter()
    refused(people.refresh(old.refresh), 401)
    assert works(later)


def test_of_twenty_refreshes_at_once_one_wins_and_then_nobody(people: People, refused: Refusals) -> None:
    """Concurrent double use is reuse, without grace: one 200, nineteen 401, and the winner's tokens are dead too."""
    people.make()
    held, elsewhere = people.enter(), people.enter()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: people.refresh(held.refresh), range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 19
    winner = people.holding(next(answer for answer in answers if answer.status_code == 200))
    for session in (winner, elsewhere):
        refused(people.refresh(session.refresh), 401)
        assert not works(session)


def test_refreshing_two_sessions_at_once_harms_neither(people: People) -> None:
    """Two devices of one user that refresh in the same moment use two tokens."""
    people.make()
    sessions = [people.enter() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda held: people.refresh(held.refresh), sessions))
    assert [answer.status_code for answer in answers] == [200] * 4
    assert all(works(people.holding(answer)) for answer in answers)


def test_a_token_past_its_week_is_refused_without_alarm(people: People, refused: Refusals) -> None:
    """A laptop opened after a holiday must sign in again; its user's other sessions go on."""
    people.make()
    late, fresh = people.enter(), people.enter()
    with transaction(people.engine) as session:
        first = select(RefreshSession.id).order_by(RefreshSession.id).limit(1).scalar_subquery()
        session.execute(update(RefreshSession).where(RefreshSession.id == first).values(expires_at=now()))
    refused(people.refresh(late.refresh), 401)
    assert works(fresh)


def test_unknown_tokens_are_refused(people: People, refused: Refusals) -> None:
    """Nothing is told of why."""
    assert refused(people.refresh("x" * 43), 401)["message"] == "Invalid refresh token"
    refused(people.anonymous.post("/api/auth/refresh"), 401)


def test_sessions_are_listed_and_ended_one_by_one(people: People, refused: Refusals) -> None:
    """A user who sees a session they do not know ends it, by any id it ever had."""
    user = people.make()
    here, there = people.enter(), people.enter()
    listed = here.caller.get("/api/auth/sessions", params={"limit": 1}).json()
    assert (listed["total"], listed["page"], listed["limit"], len(listed["items"])) == (2, 1, 1, 1)
    everything = here.caller.get("/api/auth/sessions").json()["items"]
    assert [item["current"] for item in everything] == [False, True]
    assert {item["userId"] for item in everything} == {user.uid}
    assert all("tokenHash" not in item and item["ipAddress"] == "127.0.0.1" for item in everything)
    people.refresh(there.refresh)
    path = f"/api/auth/sessions/{everything[0]['id']}"
    assert here.caller.delete(path).status_code == 204
    assert (works(here), works(there)) == (True, False)
    refused(here.caller.delete(path), 404)


def test_a_stranger_cannot_end_a_session(people: People, refused: Refusals) -> None:
    """Ids are no secrets; who may end a session is its user."""
    people.make()
    people.make("eve@example.com")
    mine, eve = people.enter(), people.enter("eve@example.com")
    [item] = mine.caller.get("/api/auth/sessions").json()["items"]
    refused(eve.caller.delete(f"/api/auth/sessions/{item['id']}"), 404)
    assert works(mine)


def test_logging_out_everywhere_ends_all(people: People, refused: Refusals) -> None:
    """The panic button: tokens and cookies, this session included."""
    people.make()
    here, there = people.enter(), people.enter()
    assert here.caller.post("/api/auth/logout-all").status_code == 204
    assert not works(here)
    assert not works(there)
    refused(people.by_cookie(value_of(there.cookies["outsend_session"])).get("/api/auth/me"), 401)


def test_changing_the_password_keeps_only_this_session(people: People, refused: Refusals) -> None:
    """Whoever knew the old one is out; the user is not."""
    people.make()
    here, there = people.enter(), people.enter()
    body = {"currentPassword": "wrong password", "newPassword": "staple battery horse"}
    refused(here.caller.post("/api/auth/change-password", json=body), 401)
    assert here.caller.post("/api/auth/change-password", json=body | {"currentPassword": PASSWORD}).status_code == 204
    assert (works(here), works(there)) == (True, False)
    refused(people.refresh(there.refresh), 401)
    refused(people.login(), 401)
    assert people.login(password="staple battery horse").status_code == 200
    assert people.mails("ada@example.com", "password_changed")


def test_the_name_can_be_changed(people: People, refused: Refusals) -> None:
    """Only what is sent changes; a name of spaces is none."""
    people.make()
    held = people.enter()
    assert held.caller.patch("/api/auth/me", json={"displayName": "Ada L."}).json()["displayName"] == "Ada L."
    assert held.caller.patch("/api/auth/me", json={}).json()["displayName"] == "Ada L."
    body = refused(held.caller.patch("/api/auth/me", json={"displayName": "  ", "role": "admin"}), 400)
    assert {tuple(issue["path"]) for issue in body["issues"]} == {("body", "displayName"), ("body", "role")}
