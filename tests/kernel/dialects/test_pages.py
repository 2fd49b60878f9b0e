"""Pages in each dialect's envelope: whole, stable, and deaf to forged cursors, on both databases."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from models.base import transaction
from support.callers import Client
from support.envelopes import Refusals
from support.miniature.systems.things import Thing

CURSORS = ("stockyard", "gateway", "stackflow")


@pytest.fixture
def things(client: Client) -> list[str]:
    """Seven things; their names, newest first."""
    names = [f"thing {number}" for number in range(7)]
    for name in names:
        _add(client, name)
    return names[::-1]


def _add(client: Client, name: str, size: int = 1) -> None:
    with transaction(client.application.runtime.engine) as session:
        session.add(Thing(name=name, size=size))


def _names(rows: list[dict[str, Any]]) -> list[str]:
    return [row["name"] for row in rows]


def test_stockyard_names_its_array(client: Client, things: list[str]) -> None:
    """`total`, `has_more`, and where this page starts."""
    body = client.user.get("/stockyard/things?limit=3&offset=3").json()
    assert _names(body["things"]) == things[3:6]
    said = {key: body[key] for key in ("count", "total", "has_more", "limit", "offset")}
    assert said == {"count": 3, "total": 7, "has_more": True, "limit": 3, "offset": 3}
    last = client.user.get("/stockyard/things?limit=3&offset=6").json()
    assert (_names(last["things"]), last["has_more"]) == (things[6:], False)
    assert "next_cursor" not in last


def test_stout_numbers_its_pages(client: Client, things: list[str]) -> None:
    """From one; past the end there is nothing, which is no error."""
    body = client.user.get("/stout/things?page=2&limit=3").json()
    assert _names(body.pop("items")) == things[3:6]
    assert body == {"total": 7, "page": 2, "limit": 3}
    assert client.user.get("/stout/things?page=900").json() == {"items": [], "total": 7, "page": 900, "limit": 20}


def test_outsend_counts_from_an_offset(client: Client, things: list[str]) -> None:
    """`items` with what was asked."""
    body = client.user.get("/outsend/things?offset=5").json()
    assert _names(body.pop("items")) == things[5:]
    assert body == {"total": 7, "limit": 50, "offset": 5}


def test_stackflow_leaves_the_cursor_out_at_the_end(client: Client, things: list[str]) -> None:
    """Its clients loop while `next_cursor` is there."""
    first = client.user.get("/stackflow/things?limit=4").json()
    assert (_names(first["data"]), first["total"]) == (things[:4], 7)
    second = client.user.get("/stackflow/things", params={"limit": 4, "cursor": first["next_cursor"]}).json()
    assert _names(second["data"]) == things[4:]
    assert "next_cursor" not in second


def test_total_counts_what_matches(client: Client, things: list[str], dialect: str) -> None:
    """After the filter, not the size of the page nor of the table."""
    _add(client, "large", size=9)
    body = client.user.get(f"/{dialect}/things?size=9&limit=1").json()
    assert body["total"] == 1


@pytest.mark.parametrize("dialect", CURSORS)
@pytest.mark.parametrize("sort", ["made", "name"])
def test_rows_that_arrive_meanwhile_neither_repeat_nor_hide_others(
    client: Client, things: list[str], dialect: str, sort: str
) -> None:
    """An export that walks the pages sees each row of its beginning exactly once."""
    seen, query = [], {"limit": 2, "sort": sort}
    for number in range(10):
        body = client.user.get(f"/{dialect}/things", params=query).json()
        seen += _names(body["data"] if dialect == "stackflow" else body["things"])
        _add(client, f"zz late {number}")
        if "next_cursor" not in body:
            break
        query["cursor"] = body["next_cursor"]
    assert seen == things


def _cursor(client: Client, dialect: str, **query: Any) -> str:
    return str(client.user.get(f"/{dialect}/things", params={"limit": 2, **query}).json()["next_cursor"])


@pytest.mark.parametrize("dialect", CURSORS)
@pytest.mark.parametrize("query", [{"size": 1}, {"sort": "name"}])
def test_a_cursor_of_another_query_is_refused(
    client: Client, refused: Refusals, things: list[str], dialect: str, query: dict[str, Any]
) -> None:
    """Its place means nothing among other rows or in another order."""
    cursor = _cursor(client, dialect)
    refused(client.user.get(f"/{dialect}/things", params={"cursor": cursor, **query}), 400, "invalid_cursor")


FORGED = [None, True, 1.5, "x", "a\0b", [], {}, 2**62, 2**63 - 1, -(2**62), 2**64 - 1, 1e30]


@pytest.mark.parametrize("dialect", CURSORS)
@pytest.mark.parametrize("sort", ["made", "name"])
@pytest.mark.parametrize("value", FORGED, ids=str)
@pytest.mark.usefixtures("things")
def test_a_forged_value_is_refused_or_harmless(
    client: Client, refused: Refusals, dialect: str, sort: str, value: Any
) -> None:
    """Well encoded, rightly stamped and of the wrong type or size: a 400, never a fault of the database."""
    cursor = _cursor(client, dialect, sort=sort)
    stamp, *true = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    for held in ([stamp, value, true[1]], [stamp, true[0], value]):
        forged = urlsafe_b64encode(orjson.dumps(held)).decode().rstrip("=")
        answer = client.user.get(f"/{dialect}/things", params={"cursor": forged, "sort": sort})
        if answer.status_code != 200:
            refused(answer, 400, "invalid_cursor")


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=some.text(min_size=1, max_size=60)
    | some.binary(min_size=1, max_size=40).map(lambda b: urlsafe_b64encode(b).decode())
)
def test_any_text_as_a_cursor_is_refused(client: Client, text: str) -> None:
    """It was made up."""
    answer = client.user.get("/stackflow/things", params={"cursor": text})
    assert answer.status_code == 400
    assert answer.json()["code"] == "INVALID_CURSOR"


@pytest.mark.parametrize("dialect", CURSORS)
def test_a_cursor_with_too_few_or_too_many_values_is_refused(
    client: Client, refused: Refusals, things: list[str], dialect: str
) -> None:
    """Its stamp is right, its shape is not."""
    cursor = _cursor(client, dialect)
    stamp, *values = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    for held in ([stamp], [stamp, values[0]], [stamp, *values, 1], {"a": 1}, "text", 5, []):
        forged = urlsafe_b64encode(orjson.dumps(held)).decode()
        refused(client.user.get(f"/{dialect}/things", params={"cursor": forged}), 400, "invalid_cursor")
