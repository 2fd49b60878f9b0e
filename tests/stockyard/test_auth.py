"""Accounts: who may make one, what they start with, and who sees whom."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from models.base import EPOCH, transaction
from models.identity import User
from models.traces import SpendRollup
from support.callers import Client
from support.envelopes import Refusals
from support.people import Person, Promised

UNKNOWN = 9_007_199_254_740_991
BAD_EMAILS = [
    "",
    " ",
    "ada",
    "ada@",
    "@example.com",
    "a b@example.com",
    "ada@example..com",
    "ada@-example.com",
    "ä@x.de",
]


def test_an_operator_signs_somebody_up(client: Client, admin: Any, promised: Promised) -> None:
    """The answer has all a new user needs, and the key in it works."""
    response = admin.post("/api/auth/signup", json={"email": " Ada.L@Example.COM\n", "plan": "pro"})
    body = promised(response, 201)
    assert (body["user"]["email"], body["user"]["name"], body["user"]["tier"]) == ("ada.l@example.com", "ada.l", "pro")
    assert (body["api_key"]["name"], body["api_key"]["scopes"]) == ("default", "*")
    assert "/v1/chat/completions" in body["usage"]
    assert promised(admin.get(response.headers["location"])) == body["user"]
    shown = promised(client.bearing(body["api_key"]["key"]).get("/api/auth/me"))["user"]
    assert {name: shown[name] for name in body["user"]} == body["user"]


def test_sign_up_is_closed_unless_opened(anonymous: Any, user: Any, refused: Refusals) -> None:
    """A server on the internet must not give models to strangers; the refusal says what to do instead."""
    body = refused(anonymous.post("/api/auth/signup", json={"email": "eve@example.com"}), 401, "unauthorized")
    assert "operator" in body["error"]["message"]
    refused(user.post("/api/auth/signup", json={"email": "eve@example.com"}), 403, "forbidden")


@pytest.mark.settings(signup="open")
def test_anybody_signs_up_where_it_is_open(anonymous: Any, promised: Promised, refused: Refusals) -> None:
    """A stranger gets an account, but chooses no plan that costs."""
    made = promised(anonymous.post("/api/auth/signup", json={"email": "eve@example.com", "plan": "community"}), 201)
    assert made["user"]["tier"] == "community"
    refused(anonymous.post("/api/auth/signup", json={"email": "bob@x.org", "plan": "team"}), 403, "forbidden")


@pytest.mark.settings(signup="open", rate_limits="on")
def test_a_stranger_signs_up_three_times_an_hour(anonymous: Any, admin: Any, refused: Refusals) -> None:
    """Open sign-up must not be a way to fill the database; operators are not held back."""
    statuses = [anonymous.post("/api/auth/signup", json={"email": f"a{n}@x.org"}).status_code for n in range(3)]
    assert statuses == [201, 201, 201]
    limited = anonymous.post("/api/auth/signup", json={"email": "a4@x.org"})
    refused(limited, 429, "rate_limited")
    assert 0 < int(limited.headers["retry-after"]) <= 3601
    assert admin.post("/api/auth/signup", json={"email": "a5@x.org"}).status_code == 201


@pytest.mark.parametrize("path", ["/api/auth/signup", "/api/auth/users"])
def test_an_address_has_one_account(admin: Any, refused: Refusals, path: str) -> None:
    """The same address in other letters is the same person; the refusal names the field."""
    assert admin.post(path, json={"email": "ada@example.com"}).status_code == 201
    body = refused(admin.post(path, json={"email": " ADA@example.com"}), 409, "conflict")
    assert body["error"]["details"]["field"] == "email"


@pytest.mark.parametrize("email", BAD_EMAILS)
def test_an_account_needs_an_address(admin: Any, refused: Refusals, email: str) -> None:
    """An account nobody can write to is a mistake; so is an empty address."""
    body = refused(admin.post("/api/auth/users", json={"email": email}), 400, "bad_request")
    assert body["error"]["details"]["issues"][0]["field"] == "body.email"


def test_an_operator_makes_a_user(admin: Any, promised: Promised) -> None:
    """The tier and name are kept; a blank name falls back to the address."""
    named = promised(admin.post("/api/auth/users", json={"email": "a@x.org", "name": " Ada ", "tier": "team"}), 201)
    assert (named["user"]["name"], named["user"]["tier"]) == ("Ada", "team")
    blank = promised(admin.post("/api/auth/users", json={"email": "b@x.org", "name": "  "}), 201)
    assert (blank["user"]["name"], blank["user"]["tier"]) == ("b", "free")


def test_a_user_that_is_not_there_is_not_found(admin: Any, refused: Refusals) -> None:
    """Every route below a user says so, instead of an empty list or a 500."""
    base = f"/api/auth/users/{UNKNOWN}"
    for path in (base, f"{base}/keys", f"{base}/providers"):
        refused(admin.get(path), 404, "not_found")
    refused(admin.post(f"{base}/keys", json={}), 404, "not_found")
    refused(admin.delete(f"{base}/keys/1"), 404, "not_found")
    refused(admin.post(f"{base}/keys/1/rotate"), 404, "not_found")
    refused(admin.put(f"{base}/providers/openai", json={"api_key": "k"}), 404, "not_found")
    refused(admin.delete(f"{base}/providers/openai"), 404, "not_found")
    for malformed in ("x", "0", "-1", "1.0", "9007199254740992", "٣"):
        refused(admin.get(f"/api/auth/users/{malformed}"), 400, "bad_request")


def test_no_credential_goes_where_it_does_not_belong(client: Client, refused: Refusals) -> None:
    """Whoever may call an operation is in the document, and the server keeps to it for all of them."""
    for operation in [o for o in refused.index.by_id.values() if o.tag == "auth" and o.id != "sign_up_user"]:
        path = operation.path.replace("{id}", "1").replace("{keyId}", "1").replace("{provider}", "openai")
        stranger, wrong = (client.user, client.admin)[:: 1 if "users" in path else -1]
        refused(client.anonymous.request(operation.method, path), 401, "unauthorized")
        refused(client.bearing("sy_" + "x" * 43).request(operation.method, path), 401, "unauthorized")
        refused(client.bearing("sk-proj-abcdefgh").request(operation.method, path), 401, "unauthorized")
        refused(stranger.request(operation.method, path), 403, "forbidden")
        assert wrong is not stranger


def test_users_are_found(admin: Any, promised: Promised) -> None:
    """By the beginning of the address, by any part of address or name, and by plan; `%` and `_` are letters."""
    people = [("ada@x.org", "Ada L", "pro"), ("adele@y.org", "50% off", "free"), ("bob@x.org", "A_b", "pro")]
    for email, name, tier in people:
        admin.post("/api/auth/users", json={"email": email, "name": name, "tier": tier})

    def found(**filters: str) -> list[str]:
        return [u["email"] for u in promised(admin.get("/api/auth/users", params=filters))["users"]]

    assert found(email="AD") == ["adele@y.org", "ada@x.org"]
    assert found(q="X.ORG") == ["bob@x.org", "ada@x.org"]
    assert found(q="0%") == ["adele@y.org"]
    assert found(q="_") == ["bob@x.org"]
    assert found(tier="pro", email="b") == ["bob@x.org"]
    assert found(q="nobody") == []


def test_pages_of_users_neither_repeat_nor_lose_anybody(admin: Any, promised: Promised) -> None:
    """People join while an operator reads on; a cursor must not be moved by them."""
    made = [admin.post("/api/auth/users", json={"email": f"u{n}@x.org"}).json()["user"]["id"] for n in range(7)]
    seen, params = [], {"limit": "3", "q": "x.org"}
    while True:
        page = promised(admin.get("/api/auth/users", params=params))
        seen += [u["id"] for u in page["users"]]
        assert page["count"] == len(page["users"])
        assert page["has_more"] == ("next_cursor" in page)
        if not page["has_more"]:
            break
        admin.post("/api/auth/users", json={"email": f"late{len(seen)}@x.org"})
        params["cursor"] = page["next_cursor"]
    assert seen == made[::-1]


def test_offsets_page_too(admin: Any, promised: Promised, refused: Refusals) -> None:
    """The contract's own way: total and has_more, and a page past the end is empty."""
    for n in range(3):
        admin.post("/api/auth/users", json={"email": f"u{n}@x.org"})
    page = promised(admin.get("/api/auth/users", params={"limit": 2, "offset": 2}))
    assert (page["count"], page["total"], page["has_more"], page["offset"]) == (2, 4, False, 2)
    assert promised(admin.get("/api/auth/users", params={"offset": 99}))["users"] == []
    for wrong in ({"limit": 0}, {"limit": 501}, {"offset": -1}, {"limit": "x"}, {"unknown": 1}, {"cursor": "AAAA"}):
        assert admin.get("/api/auth/users", params=wrong).status_code == 400


def test_me_shows_the_caller(ada: Person, promised: Promised) -> None:
    """One's own account and providers, nobody else's."""
    ada.caller.put("/api/auth/me/providers/openai", json={"api_key": "sk-ada"})
    body = promised(ada.caller.get("/api/auth/me"))
    assert body["user"]["email"] == "ada@example.com"
    assert [p["provider"] for p in body["providers"]] == ["openai"]


def test_usage_adds_up_days_and_models(ada: Person, client: Client, promised: Promised) -> None:
    """Nano-dollars become dollars at the edge; other users' spending stays theirs."""
    today = datetime.now(UTC).date()
    month = today.replace(day=1)
    days = {"today": today, "month": month, "before": month - timedelta(days=1)}
    with transaction(client.application.runtime.engine) as session:
        for name, day in days.items():
            session.add(spent(ada.id, (day - EPOCH.date()).days, name))
        session.add(spent(ada.id + 1, (today - EPOCH.date()).days, "theirs"))
    body = promised(ada.caller.get("/api/auth/me/usage"))
    within_month = 2
    within_day = 2 if today == month else 1
    assert body["user_id"] == ada.id
    assert body["total"] == {"requests": 6, "cost_usd": 3e-09, "tokens_in": 30, "tokens_out": 15}
    assert body["this_month"] == {"requests": 2 * within_month, "cost_usd": 1e-09 * within_month}
    assert body["today"] == {"requests": 2 * within_day, "cost_usd": 1e-09 * within_day}
    assert {m["model"] for m in body["top_models"]} == set(days)


def test_usage_names_the_five_dearest_models(ada: Person, client: Client, promised: Promised) -> None:
    """Dearest first; the sixth is left out. Nothing called is zero, not an error."""
    assert promised(ada.caller.get("/api/auth/me/usage"))["top_models"] == []
    with transaction(client.application.runtime.engine) as session:
        session.add_all(spent(ada.id, 20_000, f"m{n}", cost_nano=n * 10**9) for n in range(6))
    top = promised(ada.caller.get("/api/auth/me/usage"))["top_models"]
    assert [(m["model"], m["cost_usd"]) for m in top] == [(f"m{n}", float(n)) for n in (5, 4, 3, 2, 1)]


def spent(user_id: int, day: int, model: str, **changes: int) -> SpendRollup:
    """Two calls of one user, model and day."""
    amounts = {"requests": 2, "unpriced": 0, "tokens_in": 10, "tokens_out": 5, "cost_nano": 1} | changes
    return SpendRollup(day=day, scope="user", ref=str(user_id), model=model, **amounts)


def test_addresses_are_stored_in_lower_case(admin: Any, client: Client) -> None:
    """Look-ups by address rely on it."""
    admin.post("/api/auth/users", json={"email": "MiXed@Example.Org"})
    with transaction(client.application.runtime.engine, write=False) as session:
        assert session.scalar(select(User.email).where(User.email == "mixed@example.org"))
