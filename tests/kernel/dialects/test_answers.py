"""What every answer carries, and how paths and methods are understood."""

from __future__ import annotations

import re

import pytest

from support.callers import Client
from support.envelopes import Refusals

pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
ASKED = [
    ("GET", "/{}/things", 200),
    ("GET", "/{}/nothing", 404),
    ("PUT", "/{}/things", 405),
    ("POST", "/{}/things", 0),
    ("GET", "/{}/broken", 500),
    ("GET", "/{}/broken/async", 500),
    ("GET", "/{}/names/x", 200),
]
PREFLIGHT = {"origin": "https://desk.example", "access-control-request-method": "POST"}


@pytest.mark.parametrize(("method", "path", "status"), ASKED)
def test_a_sane_request_id_is_kept(client: Client, dialect: str, method: str, path: str, status: int) -> None:
    """On every answer, refusals and faults included, so that a caller's log and ours meet."""
    answer = client.user.request(method, path.format(dialect), headers={"x-request-id": "trace-1.A_b"})
    assert answer.headers["x-request-id"] == "trace-1.A_b"
    assert status in {0, answer.status_code}


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "é", "a\tb", "<script>", "a\\nb"])
def test_another_request_id_is_replaced(client: Client, dialect: str, sent: str) -> None:
    """What a caller sends goes into logs: nothing strange may."""
    answer = client.user.get(f"/{dialect}/names/x", headers={"x-request-id": sent.encode("latin-1")})
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-request-id"])


def test_two_requests_have_two_ids(client: Client, dialect: str) -> None:
    """An id that finds two requests finds none."""
    first, second = (client.anonymous.get(f"/{dialect}/names/x").headers["x-request-id"] for _ in range(2))
    assert first != second


@pytest.mark.parametrize("path", ["/{}/things", "/{}/nothing"])
def test_a_preflight_is_answered_without_a_credential(client: Client, dialect: str, path: str) -> None:
    """Browsers never send one with it (Fetch §4.8)."""
    answer = client.anonymous.request("OPTIONS", path.format(dialect), headers=PREFLIGHT)
    assert answer.status_code == 204
    assert not answer.content
    assert answer.headers["access-control-allow-origin"] == "https://desk.example"
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    assert answer.headers["x-request-id"]


def test_options_without_an_origin_is_405(client: Client, refused: Refusals, dialect: str) -> None:
    """It is a method like any other, and the document has none."""
    refused(client.anonymous.request("OPTIONS", f"/{dialect}/things"), 405)


@pytest.mark.parametrize(("method", "path", "status"), ASKED)
def test_another_origin_may_read_every_answer(
    client: Client, dialect: str, method: str, path: str, status: int
) -> None:
    """Errors too: a page that cannot read its refusal can only say that something went wrong."""
    answer = client.user.request(method, path.format(dialect), headers={"origin": "https://desk.example"})
    assert answer.headers["access-control-allow-origin"] == "https://desk.example"
    assert "Origin" in answer.headers["vary"]
    assert "x-request-id" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("path", ["/{}/things", "/{}/things/1", "/{}/nothing", "/{}/broken"])
def test_head_is_get_without_its_body(client: Client, dialect: str, path: str) -> None:
    """The same status and headers (RFC 9110 §9.3.2)."""
    got, head = (client.user.request(method, path.format(dialect)) for method in ("GET", "HEAD"))
    assert head.status_code == got.status_code
    assert not head.content
    assert head.headers["content-type"] == got.headers["content-type"]


def test_a_deletion_answers_204_without_a_type(client: Client, dialect: str) -> None:
    """No content has no media type."""
    made = client.user.post(f"/{dialect}/things", json={"name": "a", "size": 1})
    assert made.status_code == 201
    answer = client.admin.delete(f"/{dialect}/things/{made.json()['id']}")
    assert answer.status_code == 204
    assert "content-type" not in answer.headers
    assert not answer.content


NAMES = [
    ("a%2Fb", "a/b"),
    ("a%20b", "a b"),
    ("%C3%A9", "é"),
    ("a%25b", "a%b"),
    ("a+b", "a+b"),
    ("%3Fx%3D1", "?x=1"),
    ("..%2f", "../"),
]


@pytest.mark.parametrize(("sent", "understood"), NAMES)
def test_an_encoded_character_is_part_of_its_segment(client: Client, dialect: str, sent: str, understood: str) -> None:
    """Model names hold slashes; encoded, they are data (RFC 3986 §2.2)."""
    assert client.anonymous.get(f"/{dialect}/names/{sent}").json() == {"name": understood}


WRONG_PATHS = [
    "/{}//things",
    "//{}/things",
    "/{}/things/",
    "/{}/things//",
    "/{}/names/",
    "/{}/names/%ff",
    "/{}/./things%2F",
]


@pytest.mark.parametrize("path", WRONG_PATHS)
def test_another_spelling_of_a_path_is_404(client: Client, refused: Refusals, dialect: str, path: str) -> None:
    """No guessing and no redirects: one resource has one address."""
    refused(client.user.get("http://127.0.0.1:4200" + path.format(dialect)), 404, "not_found")


def test_a_nul_is_refused_before_the_database(client: Client, refused: Refusals, dialect: str) -> None:
    """PostgreSQL cannot store it."""
    status = 422 if dialect == "outsend" else 400
    refused(client.anonymous.get(f"/{dialect}/names/a%00b"), status)
    refused(client.user.post(f"/{dialect}/things", json={"name": "a\0b", "size": 1}), status)
