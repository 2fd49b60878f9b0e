"""What a refusal says of each failed field: all of them at once, with their paths, in the dialect's words."""

from __future__ import annotations

from typing import Any

import pytest

from support.callers import Client

pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
BAD = {
    "size": 101,
    "email": "nobody",
    "colour": "blue",
    "tags": ["fine", 5, "too long"],
    "inner": {"depth": "x", "width": 1},
    "extra": True,
}
ZOD = [
    (["body", "name"], "Required"),
    (["body", "size"], "Number must be less than or equal to 100"),
    (["body", "email"], "Invalid email"),
    (["body", "colour"], "Invalid enum value. Expected 'red' | 'green'"),
    (["body", "tags", 1], "Expected string, received number"),
    (["body", "tags", 2], "String must contain at most 5 character(s)"),
    (["body", "inner", "depth"], "Expected number, received string"),
    (["body", "inner", "width"], "Unrecognized key(s) in object: 'width'"),
    (["body", "extra"], "Unrecognized key(s) in object: 'extra'"),
]
PLAIN = {
    "name": "is required",
    "size": "must be at most 100",
    "email": "must be a valid email",
    "colour": "must be one of red or green",
    "tags[1]": "must be of type string",
    "tags[2]": "must have at most 5 character(s)",
    "inner.depth": "must be of type integer",
    "inner.width": "is not a known field",
    "extra": "is not a known field",
}


def _refusal(client: Client, dialect: str, body: Any = None) -> Any:
    return client.user.post(f"/{dialect}/things", json=BAD if body is None else body).json()


@pytest.mark.parametrize("plane", ["things", "echo"])
def test_stout_says_each_issue_in_zods_words(client: Client, plane: str) -> None:
    """Its clients parse `issues` as Zod wrote them: the place first, array indexes as numbers."""
    body = client.user.post(f"/stout/{plane}", json=BAD).json()
    assert body["message"] == "Validation failed"
    said = [(issue["path"], issue["message"]) for issue in body["issues"]]
    assert sorted(said, key=str) == sorted(ZOD, key=str)


def test_stout_puts_the_place_of_a_parameter_first(client: Client) -> None:
    """`query` and `params` are places like `body`."""
    (query,) = client.user.get("/stout/things?limit=101").json()["issues"]
    assert query == {"path": ["query", "limit"], "message": "Number must be less than or equal to 100"}
    (path,) = client.user.get("/stout/things/x").json()["issues"]
    assert path["path"] == ["params", "id"]


@pytest.mark.parametrize(("dialect", "key"), [("outsend", "errors"), ("stackflow", "details")])
def test_outsend_and_stackflow_list_the_fields(client: Client, dialect: str, key: str) -> None:
    """Fields as people write them, without the place."""
    assert {e["field"]: e["message"] for e in _refusal(client, dialect)[key]} == PLAIN


@pytest.mark.parametrize("dialect", ["stockyard", "gateway"])
def test_stockyard_names_the_first_field_in_its_one_message(client: Client, dialect: str) -> None:
    """It shows one message; the rest is in the details."""
    error = _refusal(client, dialect)["error"]
    assert error["message"].endswith("(and 8 more)")
    assert {i["field"].removeprefix("body."): i["message"] for i in error["details"]["issues"]} == PLAIN


def test_the_gateway_names_the_parameter(client: Client) -> None:
    """Official SDKs show `type` and `param`."""
    error = _refusal(client, "gateway", {"name": "one", "size": "x"})["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", "size")


def test_zod_calls_a_fraction_a_float(client: Client) -> None:
    """Its own words for 1.5 where an integer belongs."""
    (issue,) = client.user.post("/stout/things", json={"name": "a", "size": 1.5}).json()["issues"]
    assert issue == {"path": ["body", "size"], "message": "Expected integer, received float"}


def test_a_body_that_is_no_object_is_one_issue(client: Client, dialect: str) -> None:
    """A list, a number or null where an object belongs."""
    for body in ([], 5, "x", False):
        answer = client.user.post(f"/{dialect}/things", json=body)
        assert answer.status_code == (422 if dialect == "outsend" else 400)
    assert client.user.post(f"/{dialect}/things", content=b"null").status_code != 500


def test_no_value_is_repeated(client: Client, dialect: str) -> None:
    """A password in the wrong field must not come back in an error, nor go into a log."""
    answer = client.user.post(f"/{dialect}/things", json={"name": 5, "size": "hunter2", "colour": "hunter2"})
    assert answer.status_code in {400, 422}
    assert "hunter2" not in answer.text


def test_issues_are_bounded(client: Client, dialect: str) -> None:
    """Ten thousand bad fields are not ten thousand lines of answer."""
    answer = client.user.post(f"/{dialect}/things", json={f"f{n}": n for n in range(10_000)})
    assert answer.status_code in {400, 422}
    assert len(answer.content) < 20_000


@pytest.mark.parametrize("plane", ["things", "echo"])
def test_a_whole_float_is_an_integer(client: Client, plane: str) -> None:
    """JSON Schema says 5.0 is one; a handler that counts must get one."""
    answer = client.user.post(f"/stout/{plane}", content=b'{"name": "a", "size": 5.0}')
    assert b"5.0" not in answer.content
    assert answer.is_success
