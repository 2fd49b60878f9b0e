"""One's own account by cookie: another password, a confirmed address, and getting back in by mail."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from sqlalchemy import update

from models.base import now, transaction
from models.identity import User
from models.sessions import OneTimeToken
from support.accounts import PASSWORD, People, cookies_of, value_of
from support.callers import Caller
from support.envelopes import Refusals
from support.together import at_once

ADA = "ada@example.com"
OTHER = "staple battery horse 2"
CHANGE, RESET = "/api/auth/password/change", "/api/auth/password/reset"
CHOSEN = {"current_password": PASSWORD, "new_password": OTHER}
WEAK = ["x" * 8, "12345678", "short 1", "y1" * 65]


def browser(people: People, email: str = ADA, password: str = PASSWORD) -> Caller:
    """Somebody signed in by cookie."""
    return people.by_cookie(value_of(cookies_of(people.login(email, password))["outsend_session"]))


def test_a_new_password_ends_every_session_and_begins_one(people: People, refused: Refusals) -> None:
    """Browsers and fleet clients alike are out; whoever changed it goes on with the cookie just set."""
    people.make()
    fleet, elsewhere, here = people.enter(), browser(people), browser(people)
    answer = here.post(CHANGE, json=CHOSEN)
    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    for caller in (fleet.caller, elsewhere, here):
        refused(caller.get("/api/auth/me"), 401)
    refused(people.refresh(fleet.refresh), 401)
    [cookie] = cookies_of(answer).values()
    assert {"Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=604800"} <= set(cookie.split("; "))
    assert people.by_cookie(value_of(cookie)).get("/api/auth/me").json()["email"] == ADA
    assert people.login(password=OTHER).status_code == 200
    assert people.mails(ADA, "password_changed")


def test_a_wrong_current_password_changes_nothing(people: People, refused: Refusals) -> None:
    """It is a broken rule, 400: the session itself is fine and goes on."""
    people.make()
    here = browser(people)
    body = refused(here.post(CHANGE, json=CHOSEN | {"current_password": "wrong"}), 400)
    assert body == {"detail": "The current password is wrong"}
    assert here.get("/api/auth/me").status_code == 200
    assert people.login().status_code == 200


@pytest.mark.parametrize("password", WEAK)
def test_a_weak_password_is_told_by_its_field(people: People, refused: Refusals, password: str) -> None:
    """The rule is that of signing up, and a form can show the reason beside the field."""
    people.make()
    body = refused(browser(people).post(CHANGE, json=CHOSEN | {"new_password": password}), 422)
    assert [error["field"] for error in body["errors"]] == ["new_password"]


def test_of_two_changes_at_once_one_wins(people: People) -> None:
    """The other was made by a session that is over, with a password that is none any more."""
    people.make()
    first, second = browser(people), browser(people)
    answers = at_once(
        lambda: first.post(CHANGE, json=CHOSEN), lambda: second.post(CHANGE, json=CHOSEN | {"new_password": "third 33"})
    )
    won = [answer.status_code == 200 for answer in answers]
    assert sorted(won) == [False, True]
    assert answers[won.index(False)].status_code in {400, 401}
    assert people.login(password=[OTHER, "third 33"][won.index(True)]).status_code == 200


def test_an_account_switched_off_changes_nothing(people: People, refused: Refusals) -> None:
    """It gets no new session by way of a new password."""
    user = people.make()
    here = browser(people)
    with transaction(people.engine) as session:
        session.execute(update(User).where(User.id == user.id).values(is_active=False))
    refused(here.post(CHANGE, json=CHOSEN), 403)
    refused(here.post("/api/auth/email/resend"), 403)


def test_another_sites_page_changes_nothing(people: People, refused: Refusals) -> None:
    """A cookie comes along with whatever form a browser is made to send."""
    people.make()
    value = value_of(cookies_of(people.login())["outsend_session"])
    foreign = people.by_cookie(value, "http://evil.example")
    refused(foreign.post(CHANGE, json=CHOSEN), 403)
    refused(foreign.delete("/api/auth/account", json={"password": PASSWORD}), 403)


def test_asking_for_a_reset_tells_nothing_of_who_has_an_account(people: People) -> None:
    """Same status, same body, same time; the address is taken in any case and with space around it."""
    people.make()
    answers, times = [], []
    for email in (f" {ADA.upper()} ", "nobody@example.com", "no address at all", ADA):
        begun = time.perf_counter()
        answers.append(people.anonymous.post(f"{RESET}/request", json={"email": email, "hcaptcha_token": None}))
        times.append(time.perf_counter() - begun)
    assert {(answer.status_code, answer.content) for answer in answers} == {(200, b'{"ok":true}')}
    assert max(times) - min(times) < 0.1
    assert min(times) >= 0.15
    assert len(people.mails(ADA, "password_reset")) == 2
    assert not people.mails("nobody@example.com")


def test_who_is_switched_off_is_mailed_nothing(people: People) -> None:
    """An operator's decision is not undone by mail."""
    people.make(is_active=False)
    assert people.anonymous.post(f"{RESET}/request", json={"email": ADA}).status_code == 200
    assert not people.mails(ADA)


def asked(people: People) -> dict[str, str]:
    """What confirms a reset that was just asked for."""
    people.anonymous.post(f"{RESET}/request", json={"email": ADA})
    return {"token": people.token(ADA, "password_reset"), "new_password": OTHER}


def test_a_reset_ends_every_session_and_works_once(people: People, refused: Refusals) -> None:
    """Whoever has the mailbox takes the account back; 400, not 410, is what these clients know."""
    people.make()
    thief, fleet = browser(people), people.enter()
    sent = asked(people)
    assert people.anonymous.post(f"{RESET}/confirm", json=sent).json() == {"ok": True}
    refused(thief.get("/api/auth/me"), 401)
    refused(people.refresh(fleet.refresh), 401)
    refused(people.login(), 401)
    assert people.login(password=OTHER).status_code == 200
    body = refused(people.anonymous.post(f"{RESET}/confirm", json=sent), 400)
    assert "errors" not in body


def test_of_two_confirmations_at_once_one_wins(people: People) -> None:
    """A token found in a mailbox by somebody else is worth nothing once it was used."""
    people.make()
    sent = asked(people)
    passwords = ["first one 1", "second one 2"]
    calls = [lambda p=p: people.anonymous.post(f"{RESET}/confirm", json=sent | {"new_password": p}) for p in passwords]
    answers = [answer.status_code for answer in at_once(*calls)]
    assert sorted(answers) == [200, 400]
    assert people.login(password=passwords[answers.index(200)]).status_code == 200


@pytest.mark.parametrize("worn", ["newer", "expired", "changed"])
def test_a_reset_token_ends_before_its_use(people: People, refused: Refusals, worn: str) -> None:
    """By a newer one, by an hour, or because the password was changed meanwhile."""
    people.make()
    here, sent = browser(people), asked(people)
    if worn == "newer":
        asked(people)
    elif worn == "expired":
        with transaction(people.engine) as session:
            mine = update(OneTimeToken).where(OneTimeToken.purpose == "reset")
            left = session.scalar(mine.values(tries=0).returning(OneTimeToken.expires_at)) - now()
            session.execute(mine.values(expires_at=now()))
        assert timedelta(minutes=59) < left <= timedelta(hours=1)
    else:
        assert here.post(CHANGE, json=CHOSEN).status_code == 200
    refused(people.anonymous.post(f"{RESET}/confirm", json=sent), 400)


def test_an_address_is_confirmed_once(people: People, refused: Refusals) -> None:
    """By the newest token; asking again once it is confirmed is a state that does not fit, 400."""
    people.make(email_verified=False)
    here = browser(people)
    assert here.post("/api/auth/email/resend").json() == {"ok": True}
    older = people.token(ADA, "verification")
    here.post("/api/auth/email/resend")
    newer = people.token(ADA, "verification")
    refused(people.anonymous.post("/api/auth/email/verify", json={"token": older}), 400)
    shown = people.anonymous.post("/api/auth/email/verify", json={"token": newer}).json()
    assert (shown["ok"], shown["user"]["email"], shown["user"]["email_verified"]) == (True, ADA, True)
    refused(people.anonymous.post("/api/auth/email/verify", json={"token": newer}), 400)
    refused(here.post("/api/auth/email/resend"), 400)
    assert here.get("/api/auth/me").json()["email_verified"] is True


def test_of_two_proofs_at_once_one_wins(people: People) -> None:
    """A mail program that opens links twice gets one answer of each."""
    people.make(email_verified=False)
    browser(people).post("/api/auth/email/resend")
    sent = {"token": people.token(ADA, "verification")}
    calls = [lambda: people.anonymous.post("/api/auth/email/verify", json=sent)] * 2
    assert sorted(answer.status_code for answer in at_once(*calls)) == [200, 400]


@pytest.mark.parametrize(("path", "limit", "per_user"), [
    (CHANGE, 5, True), (f"{RESET}/request", 3, False), (f"{RESET}/confirm", 10, False),
    ("/api/auth/email/verify", 10, False), ("/api/auth/email/resend", 3, True),
])  # fmt: skip
@pytest.mark.settings(rate_limits="on")
def test_each_is_limited_by_the_hour(
    people: People, refused: Refusals, path: str, limit: int, *, per_user: bool
) -> None:
    """Guessing a password or filling a mailbox ends soon, and the refusal says for how long."""
    people.make(email_verified=False)
    people.make("bea@example.com")
    caller, other = browser(people), browser(people, "bea@example.com")
    sent = {"current_password": "wrong", "new_password": OTHER} if path == CHANGE else {"token": "x" * 43}
    sent |= {"new_password": OTHER} if path.endswith("confirm") else {}
    sent = {"email": ADA} if path.endswith("request") else sent
    body = {} if path.endswith("resend") else {"json": sent}
    assert [caller.post(path, **body).status_code for _ in range(limit)].count(429) == 0
    answer = caller.post(path, **body)
    assert "Retry after" in refused(answer, 429)["detail"]
    assert 0 < int(answer.headers["retry-after"]) <= 3600
    assert (other.post(path, **body).status_code == 429) is not per_user
