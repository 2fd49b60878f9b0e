"""Tokens of the service desk, by `exchange_credential` and the token endpoint: who gets one, what it says, its end."""

from __future__ import annotations

from base64 import b64encode
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from app.problems import Problem
from app.security.desk_roles import DESK_GRANTS
from app.wire.validators import parse_form
from models.base import now, transaction
from models.desk import DeskKey
from models.identity import User
from models.orgs import Membership, Org
from support.accounts import People
from support.desk import V1, Desk, Person
from support.envelopes import Refusals

TOKEN = "/oauth2/token"
EXCHANGE = f"{V1}/auth/token"
GRANT = "client_credentials"


def make_key(person: Person, **fields: Any) -> dict[str, Any]:
    """A key of somebody, as shown once."""
    answer = person.call("POST", "/api-keys", json={"name": "import"} | fields)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def form(key: dict[str, Any], **more: str) -> dict[str, str]:
    """The form a client sends."""
    return {"grant_type": GRANT, "client_id": key["id"], "client_secret": key["key"]} | more


def test_a_key_is_a_client_of_the_token_endpoint(desk: Desk, tenant: Org, agent: Person) -> None:
    """The token says who, in which role and tenant, and is taken; fields the grant does not know are ignored."""
    answer = desk.client.anonymous.post(TOKEN, data=form(make_key(agent), scope="openid"))
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 3600)
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert claims["email"] == agent.email
    assert (claims["custom:role"], claims["custom:tenant_id"]) == ("itsm_agent", tenant.uid)
    assert {"sub", "name", "iss", "exp"} <= claims.keys()
    assert desk.client.bearing(body["access_token"]).get(f"{V1}/incidents").status_code == 200


def test_a_client_may_prove_itself_by_http_basic(desk: Desk, agent: Person, refused: Refusals) -> None:
    """RFC 6749 §2.3.1 says servers must take it; and that nobody proves themselves twice."""
    key = make_key(agent)
    basic = "Basic " + b64encode(f"{key['id']}:{key['key']}".encode()).decode()
    caller = desk.client.bearing(authorization=basic)
    assert caller.post(TOKEN, data={"grant_type": GRANT}).status_code == 200
    refused(caller.post(TOKEN, data=form(key)), 400, "invalid_request")
    refused(
        desk.client.bearing(authorization="Basic %%").post(TOKEN, data={"grant_type": GRANT}), 401, "invalid_client"
    )


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ("grant_type=password&client_id=a&client_secret=b", 400, "unsupported_grant_type"),
        ("client_id=a&client_secret=b", 400, "invalid_request"),
        ("grant_type=client_credentials&grant_type=client_credentials", 400, "invalid_request"),
        ("grant_type=client_credentials&client_id=%ff", 400, "invalid_request"),
        ("grant_type=client_credentials&client_id=a&client_secret=b", 401, "invalid_client"),
        ("grant_type=client_credentials&client_id=&client_secret=", 401, "invalid_client"),
    ],
)
def test_the_token_endpoint_refuses_as_oauth_does(
    desk: Desk, refused: Refusals, sent: str, status: int, code: str
) -> None:
    """OAuth clients read two fields of a refusal and no other envelope."""
    form_type = {"content-type": "application/x-www-form-urlencoded"}
    answer = desk.client.anonymous.post(TOKEN, content=sent, headers=form_type)
    body = refused(answer, status, code)
    assert body.keys() == {"error", "error_description"}
    assert status != 401 or answer.headers["www-authenticate"].startswith("Basic")


def test_the_token_endpoint_reads_forms_only(desk: Desk, agent: Person, refused: Refusals) -> None:
    """The standard knows no JSON there; a form is one to no other operation."""
    key = make_key(agent)
    refused(desk.client.anonymous.post(TOKEN, json=form(key)), 415)
    refused(agent.call("POST", "/incidents", data={"short_description": "x"}), 415)


def test_a_wrong_pair_is_no_client(desk: Desk, agent: Person, refused: Refusals) -> None:
    """A key's secret with another key's id must not pass."""
    one, two = make_key(agent), make_key(agent)
    refused(desk.client.anonymous.post(TOKEN, data=form(one, client_id=two["id"])), 401, "invalid_client")


def test_a_key_is_exchanged_but_is_no_bearer(desk: Desk, agent: Person, refused: Refusals) -> None:
    """A raw key in a client's log must not open records by itself."""
    key = make_key(agent)
    by_key = desk.client.bearing(**{"x-api-key": key["key"]})
    token = by_key.post(EXCHANGE).json()["access_token"]
    assert desk.client.bearing(token).get(f"{V1}/incidents").status_code == 200
    refused(desk.client.bearing(key["key"]).get(f"{V1}/incidents"), 401)
    refused(by_key.get(f"{V1}/incidents"), 401)
    assert agent.get("/api-keys")["data"][0]["last_used_at"]


def test_a_session_is_exchanged_for_a_tenants_token(desk: Desk, people: People, refused: Refusals) -> None:
    """People sign in once; their role is the one they have in the tenant they name."""
    people.make()
    held = people.enter()
    token = held.caller.post(EXCHANGE).json()["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["custom:role"] == "super_admin"
    assert desk.client.bearing(token).get(f"{V1}/groups").json()["total"] == 5
    other = desk.tenant("other")
    refused(held.caller.post(EXCHANGE, params={"tenant_id": other.uid}), 404)


def test_who_is_in_two_tenants_names_one(desk: Desk, people: People, refused: Refusals) -> None:
    """Guessing a tenant would put records where they are not looked for."""
    user, other = people.make(), desk.tenant("other")
    people.enter()
    with transaction(people.engine) as session:
        session.add(Membership(org_id=other.id, user_id=user.id, role="member", desk_role="viewer"))
    held = people.enter()
    refused(held.caller.post(EXCHANGE), 422)
    token = held.caller.post(EXCHANGE, params={"tenant_id": other.uid.upper()}).json()["access_token"]
    assert jwt.decode(token, options={"verify_signature": False})["custom:role"] == "viewer"


def test_a_revoked_or_expired_key_is_exchanged_no_more(desk: Desk, agent: Person, refused: Refusals) -> None:
    """Revoking takes hold at once, though the key was just used."""
    one, two = make_key(agent), make_key(agent)
    callers = [desk.client.bearing(**{"x-api-key": key["key"]}) for key in (one, two)]
    assert all(caller.post(EXCHANGE).status_code == 200 for caller in callers)
    assert agent.call("DELETE", f"/api-keys/{one['id']}").status_code == 204
    refused(callers[0].post(EXCHANGE), 401)
    refused(desk.client.anonymous.post(TOKEN, data=form(one)), 401, "invalid_client")
    refused(agent.call("DELETE", f"/api-keys/{one['id']}"), 404, "not_found")
    with transaction(desk.runtime.engine) as session:
        session.execute(update(DeskKey).values(expires_at=now() - timedelta(seconds=1)))
    refused(desk.client.anonymous.post(TOKEN, data=form(two)), 401, "invalid_client")


def test_a_key_is_shown_once_and_only_to_its_owner(desk: Desk, tenant: Org, agent: Person, refused: Refusals) -> None:
    """A list that shows secrets is a leak; another's key is not there at all."""
    key = make_key(agent)
    listed = agent.get("/api-keys")
    assert listed["total"] == 1
    assert "key" not in listed["data"][0]
    assert key["key"].startswith(listed["data"][0]["prefix"])
    admin = desk.person(tenant, "super_admin")
    assert admin.get("/api-keys")["total"] == 0
    refused(admin.call("DELETE", f"/api-keys/{key['id']}"), 404, "not_found")


def test_no_key_may_do_more_than_its_owner(desk: Desk, tenant: Org, agent: Person, refused: Refusals) -> None:
    """Else an agent makes themselves an admin; and a demotion must reach the keys made before."""
    refused(agent.call("POST", "/api-keys", json={"name": "x", "role": "super_admin"}), 403, "forbidden")
    refused(desk.person(tenant, "viewer").call("POST", "/api-keys", json={"name": "x"}), 403, "forbidden")
    key = make_key(agent)
    with transaction(desk.runtime.engine) as session:
        session.execute(update(Membership).where(Membership.user_id == agent.user_id).values(desk_role="viewer"))
    refused(desk.client.anonymous.post(TOKEN, data=form(key)), 401, "invalid_client")


@pytest.mark.parametrize("days", [-1, 366])
def test_a_key_ends_within_a_year(agent: Person, refused: Refusals, days: int) -> None:
    """Keys nobody renews are keys nobody remembers."""
    body = {"name": "x", "expires_at": (now() + timedelta(days=days)).isoformat()}
    refused(agent.call("POST", "/api-keys", json=body), 422)


@pytest.mark.parametrize("change", ["inactive", "gone"])
def test_a_token_dies_with_its_holder(desk: Desk, agent: Person, refused: Refusals, change: str) -> None:
    """Who is switched off, or taken out of the tenant, must not read on for an hour."""
    with transaction(desk.runtime.engine) as session:
        if change == "inactive":
            session.execute(update(User).where(User.id == agent.user_id).values(is_active=False))
        else:
            session.delete(session.query(Membership).where(Membership.user_id == agent.user_id).one())
    refused(agent.call("GET", "/incidents"), 401)


def test_every_grant_is_within_the_granting_role() -> None:
    """What a granted role may grant, the granting role may too: no ladder to climb."""
    for role, granted in DESK_GRANTS.items():
        assert role in granted
        for below in granted:
            assert DESK_GRANTS[below] <= granted


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1), st.text(st.characters(codec="utf-8"), min_size=1)
    )
)
def test_a_form_is_read_as_it_was_written(fields: dict[str, str]) -> None:
    """Names and values of any script survive; a field sent twice is refused whatever it holds."""
    assert parse_form(urlencode(fields).encode()) == fields
    if fields:
        with pytest.raises(Problem):
            parse_form(urlencode([*fields.items(), next(iter(fields.items()))]).encode())
