"""Traces over HTTP: recorded once, found by every filter, paged without gaps, shown without pretence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.callers import Caller, Client
from support.envelopes import Refusals
from support.people import Promised

Json = dict[str, Any]
TRACES = "/api/observe/traces"


def add(admin: Caller, **fields: Any) -> str:
    """Record a trace; its id."""
    made = admin.post(TRACES, json={"operation": "chat.completion"} | fields)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def test_a_trace_recorded_by_hand_reads_back_whole(admin: Caller, promised: Promised) -> None:
    """What an importer sends is what an operator later reads, to the last character."""
    sent = {"operation": "embedding", "provider": "acme", "model": "m-1", "status": "error", "http_status": 502}
    sent |= {"error": "it broke", "duration_ms": 12, "tokens_in": 3, "tokens_out": 4, "cost_usd": 0.25, "user_id": 9}
    sent |= {"project": "p", "source": "demo", "tags": {"team": "ä=b"}, "metadata": {"deep": [{"nul": "\0"}]}}
    sent |= {"request_body": "ask\u2603", "response_body": "", "created_at": "2026-01-02T03:04:05.678+01:00"}
    made = admin.post(TRACES, json=sent)
    body = promised(made, 201)
    assert made.headers["location"] == f"{TRACES}/{body['id']}"
    shown = promised(admin.get(made.headers["location"]))
    same = sent | {"created_at": "2026-01-02T02:04:05.678Z", "cost_known": True, "service": "proxy", "stream": False}
    del same["response_body"]
    assert same.items() <= shown.items()


def test_an_unknown_price_is_never_shown_as_free(admin: Caller, promised: Promised) -> None:
    """Zero would hide that nobody knows what was spent."""
    unpriced, free = add(admin), add(admin, cost_usd=0)
    assert promised(admin.get(f"{TRACES}/{unpriced}")).items() >= {"cost_usd": None, "cost_known": False}.items()
    assert promised(admin.get(f"{TRACES}/{free}")).items() >= {"cost_usd": 0.0, "cost_known": True}.items()
    assert promised(admin.get("/api/observe/overview"))["unpriced_requests"] == 1


def test_sending_a_trace_twice_counts_it_once(admin: Caller, refused: Refusals) -> None:
    """An importer that retries must not double the bill."""
    add(admin, id="import-1", cost_usd=2)
    refused(admin.post(TRACES, json={"operation": "x", "id": "import-1", "cost_usd": 2}), 409, "conflict")
    assert admin.get("/api/observe/overview").json()["total_cost_usd"] == 2.0


def test_lists_leave_bodies_and_metadata_to_the_trace_itself(admin: Caller, promised: Promised) -> None:
    """A page of fifty prompts is megabytes nobody asked for."""
    add(admin, request_body="secret prompt", metadata={"a": 1})
    [shown] = promised(admin.get(TRACES))["traces"]
    assert shown.keys().isdisjoint({"request_body", "response_body", "metadata"})


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, "edcba"),
        ({"model": "x"}, "da"),
        ({"status": "error"}, "b"),
        ({"provider": "p2", "status": "ok"}, "d"),
        ({"project": "other"}, "c"),
        ({"source": "demo"}, "e"),
        ({"source": "real", "model": "x"}, "da"),
        ({"user_id": 7}, "cb"),
        ({"request_id": "r-1"}, "d"),
        ({"tag": "team:a:b"}, "ca"),
        ({"tag": "team:a:b", "user_id": 7}, "c"),
        ({"tag": "team:none"}, ""),
        ({"model": "absent"}, ""),
        ({"from": "2026-03-02T00:00:00Z", "to": "2026-03-03T00:00:00Z"}, "cb"),
        ({"from": "2026-03-02T00:00:00Z", "user_id": 7}, "cb"),
        ({"to": "2026-03-01T23:59:59.999Z"}, "a"),
        ({"to": "1999-12-31T23:59:60Z"}, ""),
        ({"from": "2026-03-03T01:00:00+01:00", "tag": "team:a:b"}, "c"),
        ({"from": "9999-12-31T23:59:59-23:59"}, ""),
    ],
)
def test_every_filter_must_hold(admin: Caller, promised: Promised, query: Json, found: str) -> None:
    """A list that shows more than was asked for hides what was sought."""
    day, tags = "2026-03-0{}T00:00:00Z", {"team": "a:b"}
    add(admin, id="a", model="x", created_at=day.format(1), tags=tags)
    add(admin, id="b", status="error", user_id=7, created_at=day.format(2))
    add(admin, id="c", project="other", user_id=7, created_at=day.format(3), tags=tags | {"env": "y"})
    add(admin, id="d", model="x", provider="p2", request_id="r-1", created_at=day.format(4))
    add(admin, id="e", source="demo", created_at=day.format(5))
    page = promised(admin.get(TRACES, params=query))
    assert "".join(t["id"] for t in page["traces"]) == found
    assert (page["total"], page["count"], page["has_more"]) == (len(found), len(found), False)


@pytest.mark.parametrize(
    "query", [{}, {"model": "m"}, {"tag": "t:v"}, {"from": "2026-01-01T00:00:00Z"}, {"user_id": 1}]
)
def test_cursors_visit_every_trace_once_while_more_arrive(admin: Caller, promised: Promised, query: Json) -> None:
    """An export that skips a row is wrong and nobody notices."""
    made = [add(admin, model="m", user_id=1, tags={"t": "v"}) for _ in range(7)]
    seen: list[str] = []
    page = promised(admin.get(TRACES, params=query | {"limit": 3}))
    while True:
        seen += [t["id"] for t in page["traces"]]
        if not page["has_more"]:
            break
        add(admin, model="m", user_id=1, tags={"t": "v"})
        page = promised(admin.get(TRACES, params=query | {"limit": 3, "cursor": page["next_cursor"]}))
    assert seen == made[::-1]


def test_offsets_reach_the_end(admin: Caller, promised: Promised) -> None:
    """A pager shows the last page, and says that it is the last."""
    made = [add(admin) for _ in range(5)]
    page = promised(admin.get(TRACES, params={"limit": 2, "offset": 4}))
    assert ([t["id"] for t in page["traces"]], page["total"], page["has_more"]) == ([made[0]], 5, False)


def test_an_unknown_trace_is_not_found(admin: Caller, refused: Refusals) -> None:
    """Clients tell a mistyped id from an empty answer."""
    refused(admin.get(f"{TRACES}/tr_missing"), 404, "not_found")


def test_a_moment_to_come_counts_as_now(admin: Caller, promised: Promised) -> None:
    """A clock that runs ahead must not put calls into tomorrow's bill."""
    id_ = add(admin, created_at=(datetime.now(UTC) + timedelta(days=400)).isoformat())
    shown = datetime.fromisoformat(promised(admin.get(f"{TRACES}/{id_}"))["created_at"])
    assert abs(shown - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"operation": ""},
        {"operation": "x", "status": "fine"},
        {"operation": "x", "cost_usd": -1},
        {"operation": "x", "tags": {"a=b": "c"}},
        {"operation": "x", "id": "a b"},
        {"operation": "x", "model": "nul\0"},
        {"operation": "x", "unknown": 1},
    ],
)
def test_a_trace_that_breaks_a_rule_is_refused(admin: Caller, refused: Refusals, wrong: Json) -> None:
    """A field silently dropped is a figure silently wrong."""
    refused(admin.post(TRACES, json=wrong), 400)
    assert admin.get(TRACES).json()["total"] == 0


def test_traces_are_for_operators(client: Client, refused: Refusals) -> None:
    """They hold what everybody asked."""
    refused(client.user.get(TRACES), 403, "forbidden")
    refused(client.anonymous.get(TRACES), 401, "unauthorized")


def test_a_trace_is_found_by_its_id(admin: Caller, promised: Promised) -> None:
    """The id in the answer's header is what an operator has in hand."""
    known = add(admin)
    assert promised(admin.get(f"/api/observe/traces/{known}"))["id"] == known
