"""Limits as each dialect tells of them: who is counted, what the refusal says, which headers go with every answer."""

from __future__ import annotations

import time
from copy import deepcopy
from typing import Any

import pytest

from support import miniature
from support.callers import Caller, Client
from support.envelopes import Refusals

pytestmark = [
    pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session"),
    pytest.mark.settings(rate_limits="on"),
]
LIMITED = ("stockyard", "stout", "outsend", "stackflow")
BY_CALLER = ("stockyard", "stackflow")
FAMILY = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
TELLING = {"stockyard": (*FAMILY, "ratelimit", "ratelimit-policy"), "stout": FAMILY, "stackflow": FAMILY, "outsend": ()}


@pytest.fixture(scope="session")
def document() -> dict[str, Any]:
    """The miniature with limits a test can reach."""
    tight = deepcopy(miniature.document())
    for manners in tight["x-dialects"].values():
        manners |= {key: "3/hour" for key in ("before", "after") if manners.get(key)}
        manners["failures"] = "2/hour"
    return tight


@pytest.fixture(params=LIMITED)
def limited(request: pytest.FixtureRequest) -> str:
    """Each dialect that has a general limit."""
    return str(request.param)


def _spend(caller: Caller, path: str, times: int = 3) -> None:
    for _ in range(times):
        assert caller.get(path).status_code == 200


def test_the_limit_is_met_by_429(client: Client, refused: Refusals, limited: str) -> None:
    """In the dialect's envelope, with whole seconds to wait: its clients parse them with int()."""
    _spend(client.user, f"/{limited}/things")
    answer = client.user.get(f"/{limited}/things")
    refused(answer, 429, "rate_limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 3600


def test_every_answer_tells_what_is_left(client: Client, limited: str) -> None:
    """In the header family the dialect promises, and no other."""
    answer = client.user.get(f"/{limited}/things")
    told = {name for name in answer.headers if name.startswith(("x-ratelimit", "ratelimit"))}
    assert told == set(TELLING[limited])
    if told:
        assert answer.headers["x-ratelimit-limit"] == "3"
        assert answer.headers["x-ratelimit-remaining"] == "2"
        assert 0 < int(answer.headers["x-ratelimit-reset"]) - time.time() <= 3601


@pytest.mark.parametrize("dialect", BY_CALLER)
def test_one_callers_limit_is_not_anothers(client: Client, dialect: str) -> None:
    """Limits by caller: a busy user must not stop the operator."""
    _spend(client.user, f"/{dialect}/things")
    assert client.user.get(f"/{dialect}/things").status_code == 429
    assert client.admin.get(f"/{dialect}/things").status_code == 200


@pytest.mark.parametrize("dialect", ["stout", "outsend"])
def test_a_limit_by_address_counts_before_the_credential(client: Client, refused: Refusals, dialect: str) -> None:
    """Guesses count too, and every caller behind the address shares it."""
    for _ in range(2):
        refused(client.anonymous.get(f"/{dialect}/things"), 401)
    _spend(client.user, f"/{dialect}/things", 1)
    refused(client.admin.get(f"/{dialect}/things"), 429, "rate_limited")


def test_wrong_credentials_are_limited(client: Client, refused: Refusals, dialect: str) -> None:
    """Guessing has its own limit, told as such; a right credential still passes."""
    if dialect in {"stout", "outsend"}:
        pytest.skip("its limit by address is the tighter one here")
    guess = client.bearing("sy_" + "x" * 43)
    for _ in range(2):
        refused(guess.get(f"/{dialect}/things"), 401)
    answer = guess.get(f"/{dialect}/things")
    refused(answer, 429, "rate_limited")
    assert int(answer.headers["retry-after"]) >= 1
    assert client.user.get(f"/{dialect}/things").status_code == 200


@pytest.mark.parametrize("dialect", ["gateway", "stockyard", "stackflow"])
def test_an_operation_may_have_its_own_limit(client: Client, refused: Refusals, dialect: str) -> None:
    """By address and e-mail, whatever its case: a door that can be knocked on twice a minute."""
    path = f"/{dialect}/sessions"
    for email in ("a@example.com", " A@Example.COM "):
        assert client.anonymous.post(path, json={"email": email}).status_code == 200
    answer = client.anonymous.post(path, json={"email": "a@example.com"})
    if dialect != "gateway":
        assert client.anonymous.get(f"/{dialect}/names/x").status_code == 429  # both knocks counted here too
        return
    refused(answer, 429, "rate_limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert client.anonymous.post(path, json={"email": "b@example.com"}).status_code == 200
    assert client.anonymous.post(path, json={}).status_code == 200


def test_paths_that_lead_nowhere_count(client: Client, refused: Refusals, limited: str) -> None:
    """A scanner is limited as well, by its address."""
    for _ in range(3):
        refused(client.anonymous.get(f"/{limited}/nothing"), 404)
    refused(client.anonymous.get(f"/{limited}/nothing"), 429, "rate_limited")


@pytest.mark.parametrize("dialect", BY_CALLER)
def test_an_exempt_operation_is_not_counted_but_tells(client: Client, dialect: str) -> None:
    """Bulk work is free of the limit, and its headers are there all the same."""
    for _ in range(5):
        answer = client.user.get(f"/{dialect}/bulk")
        assert answer.status_code == 200
        assert answer.headers["x-ratelimit-remaining"] == "3"


STACKFLOW = [
    ("GET", "things", 200),
    ("GET", "nothing", 404),
    ("PUT", "things", 405),
    ("GET", "broken", 500),
    ("GET", "things?x=1", 400),
]


@pytest.mark.parametrize(("method", "path", "status"), STACKFLOW)
def test_stackflow_tells_on_refusals_too(client: Client, method: str, path: str, status: int) -> None:
    """On every response, says its contract; its clients slow down by these headers."""
    answer = client.user.request(method, f"/stackflow/{path}")
    assert answer.status_code == status
    assert set(FAMILY) <= set(answer.headers)


def test_stackflow_tells_without_a_credential(client: Client) -> None:
    """A 401 and a preflight are responses as well."""
    refusal = client.anonymous.get("/stackflow/things")
    asked = {"origin": "https://desk.example", "access-control-request-method": "GET"}
    preflight = client.anonymous.request("OPTIONS", "/stackflow/things", headers=asked)
    assert (refusal.status_code, preflight.status_code) == (401, 204)
    assert set(FAMILY) <= set(refusal.headers)
    assert set(FAMILY) <= set(preflight.headers)


@pytest.mark.settings(rate_limits="off")
def test_limits_can_be_switched_off(client: Client, limited: str) -> None:
    """For load tests: no refusal, and no header that tells of a limit nobody holds."""
    _spend(client.user, f"/{limited}/things", 5)
    assert not set(FAMILY) & set(client.user.get(f"/{limited}/things").headers)
