"""Every way to be refused, said in every dialect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.callers import Client
from support.envelopes import Refusals
from support.miniature.systems.things import SECRET

pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
PLANES = ("things", "echo")
GOOD = {"name": "one", "size": 1}


def test_an_unknown_path_is_404(client: Client, refused: Refusals, dialect: str) -> None:
    """A path that leads nowhere borrows the dialect of its neighbours."""
    refused(client.user.get(f"/{dialect}/nothing/here"), 404, "not_found")


def test_a_path_between_dialects_speaks_the_documents_own(client: Client) -> None:
    """Where no neighbour decides, the root does, and does not change as operations are added."""
    assert client.anonymous.get("/nothing").json()["error"]["code"] == "not_found"


def test_a_wrong_method_is_405_with_every_right_one(client: Client, refused: Refusals, dialect: str) -> None:
    """`Allow` lists what the document has, for clients that negotiate (RFC 9110 §10.2.1)."""
    answer = client.user.put(f"/{dialect}/things", json={})
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, POST"


def test_an_invented_method_is_405(client: Client, refused: Refusals, dialect: str) -> None:
    """A method no RFC knows is refused like any other."""
    refused(client.user.request("BREW", f"/{dialect}/things"), 405, "method_not_allowed")


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("content", [b"{", b"", b'{"name": NaN}', b'{"name": "\\ud800"}', b"[" * 100_000])
def test_malformed_json_is_400(client: Client, refused: Refusals, dialect: str, plane: str, content: bytes) -> None:
    """Unreadable is not invalid: 400 in every dialect, without field issues."""
    answer = client.user.post(f"/{dialect}/{plane}", content=content, headers={"content-type": "application/json"})
    body = refused(answer, 400, "malformed_json")
    assert "issues" not in body
    assert "errors" not in body


@pytest.mark.parametrize("plane", PLANES)
def test_a_body_that_is_not_utf8_is_400(client: Client, refused: Refusals, dialect: str, plane: str) -> None:
    """Bytes of another encoding are refused with the place, not guessed."""
    content = b'{"name": "caf\xe9", "size": 1}'
    answer = client.user.post(f"/{dialect}/{plane}", content=content, headers={"content-type": "application/json"})
    refused(answer, 400)
    assert "UTF-8 (byte 13)" in answer.text


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize(
    "media", ["text/plain", "application/xml; charset=utf-8", "application/x-www-form-urlencoded", "é"]
)
def test_another_media_type_is_415(client: Client, refused: Refusals, dialect: str, plane: str, media: str) -> None:
    """A body is read as what it says it is, or not at all."""
    headers = {"content-type": media.encode("latin-1")}
    answer = client.user.post(f"/{dialect}/{plane}", content=b"{}", headers=headers)
    refused(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("plane", PLANES)
def test_a_body_without_a_type_is_read_as_json(client: Client, refused: Refusals, dialect: str, plane: str) -> None:
    """The one type an operation takes is assumed, and the body still has to be valid."""
    assert client.user.post(f"/{dialect}/{plane}", content=b'{"name": "a", "size": 1}').is_success
    refused(client.user.post(f"/{dialect}/{plane}", content=b"{"), 400)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("announced", [True, False])
def test_a_body_past_the_limit_is_413(
    client: Client, refused: Refusals, document: dict[str, Any], dialect: str, plane: str, announced: bool
) -> None:
    """Refused from its Content-Length, or as soon as a chunked body passes the limit: never held whole."""
    most = document["x-dialects"][dialect]["body"]
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        while sent < most * 4:
            sent += 1 << 16
            yield b" " * (1 << 16)

    content: Any = b" " * (most + 1) if announced else pieces()
    answer = client.user.post(f"/{dialect}/{plane}", content=content, headers={"content-type": "application/json"})
    refused(answer, 413, "payload_too_large")


def test_a_content_length_that_is_no_number_is_400(client: Client, refused: Refusals, dialect: str) -> None:
    """A server in front may let it pass; here it is a malformed request, not a fault."""
    headers = {"content-type": "application/json", "content-length": "many"}
    refused(client.user.post(f"/{dialect}/things", content=b"{}", headers=headers), 400)


@pytest.mark.parametrize("number", ["0", "x", "1.5", "-1", "1000001", "99999999999999999999", "%00", "1%2F2", "é"])
def test_a_bad_path_parameter_is_refused(client: Client, refused: Refusals, dialect: str, number: str) -> None:
    """A number out of its bounds is invalid input, never an unfound row or a fault of the database."""
    refused(client.user.get(f"/{dialect}/things/{number}"), _invalid(dialect), "validation_failed")


@pytest.mark.parametrize(
    "query", ["size=101", "size=x", "size=1&size=2", "size=", "sort=colour", "limit=0", "limit=1e2"]
)
def test_a_bad_query_parameter_is_refused(client: Client, refused: Refusals, dialect: str, query: str) -> None:
    """Out of bounds, of another type, or given twice."""
    refused(client.user.get(f"/{dialect}/things?{query}"), _invalid(dialect), "validation_failed")


@pytest.mark.parametrize("query", ["size=%ff", "%ff=1", "size=%c3%28"])
def test_a_query_that_is_not_utf8_is_400(client: Client, refused: Refusals, dialect: str, query: str) -> None:
    """Nothing is guessed about bytes of another encoding."""
    refused(client.user.get(f"/{dialect}/things?{query}"), 400)


@pytest.mark.parametrize("depth", ["x", "10", "-1"])
def test_a_bad_header_parameter_is_refused(client: Client, refused: Refusals, dialect: str, depth: str) -> None:
    """Headers are parameters like the others."""
    refused(client.user.get(f"/{dialect}/things", headers={"x-depth": depth}), _invalid(dialect), "validation_failed")


def test_a_good_header_parameter_is_coerced(client: Client, dialect: str) -> None:
    """The handler gets the integer the document promises it (it asserts so)."""
    assert client.user.get(f"/{dialect}/things", headers={"x-depth": "3"}).status_code == 200


def test_an_unknown_query_parameter_is_refused(client: Client, refused: Refusals, dialect: str) -> None:
    """A misspelt filter that is ignored shows too much. The gateway passes on what it does not know."""
    answer = client.user.get(f"/{dialect}/things?szie=1")
    if dialect == "gateway":
        assert answer.status_code == 200
    else:
        refused(answer, _invalid(dialect), "validation_failed")
        assert "szie" in answer.text


def test_a_name_too_long_to_repeat_is_cut(client: Client, refused: Refusals, dialect: str) -> None:
    """A refusal stays small, and within its own schema, whatever was sent."""
    answer = client.user.post(f"/{dialect}/things", json=GOOD | {f"{'x' * 5000}{n}": 1 for n in range(50)})
    refused(answer, _invalid(dialect), "validation_failed")
    assert len(answer.content) < 20_000


def test_no_credential_is_401(client: Client, refused: Refusals, dialect: str) -> None:
    """With the challenge RFC 9110 §11.6.1 wants."""
    answer = client.anonymous.get(f"/{dialect}/things")
    refused(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")


WRONG = [
    "Bearer sy_" + "x" * 43,
    "Bearer",
    "Basic dXNlcjpwYXNz",
    "Bearer é",
    "Bearer sy_' OR 1=1 --",
    "Token x",
    "Bearer \t",
]


@pytest.mark.parametrize("credential", WRONG)
def test_a_wrong_credential_is_401(client: Client, refused: Refusals, dialect: str, credential: str) -> None:
    """Whatever is wrong with it, the answer does not tell what would be right."""
    answer = client.anonymous.get(f"/{dialect}/things", headers={"authorization": credential.encode("latin-1")})
    refused(answer, 401, "unauthorized")
    assert "xxxx" not in answer.text


def test_a_wrong_role_is_403(client: Client, refused: Refusals, dialect: str) -> None:
    """Known, but not allowed: a user may not do what only the operator may."""
    refused(client.user.delete(f"/{dialect}/things/1"), 403, "forbidden")
    refused(client.admin.delete(f"/{dialect}/things/1"), 404, "not_found")


def test_the_admin_header_is_a_credential(client: Client, refused: Refusals, dialect: str) -> None:
    """By its own name, only where the document takes it, and only with an admin's key."""
    key = client.admin.headers["authorization"].removeprefix("Bearer ")
    other = client.user.headers["authorization"].removeprefix("Bearer ")
    refused(client.bearing(**{"x-admin-key": key}).delete(f"/{dialect}/things/1"), 404)
    refused(client.bearing(**{"x-admin-key": other}).delete(f"/{dialect}/things/1"), 403)
    refused(client.bearing(**{"x-admin-key": key}).get(f"/{dialect}/things"), 401)


@pytest.mark.parametrize("path", ["broken", "broken/async"])
def test_a_fault_tells_nothing_of_the_inside(client: Client, refused: Refusals, dialect: str, path: str) -> None:
    """A traceback or a connection string in a 500 is a leak."""
    answer = client.anonymous.get(f"/{dialect}/{path}")
    refused(answer, 500, "internal_error")
    for inside in (SECRET, "hunter2", "RuntimeError", "Traceback"):
        assert inside not in answer.text + str(answer.headers)


def _invalid(dialect: str) -> int:
    return 422 if dialect == "outsend" else 400
