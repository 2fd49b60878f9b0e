"""Evidence of what the ledger held, and feedback on answers."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest

from app.factory import Application
from app.services.trust import ledger
from models.base import now, transaction
from models.views.fields import rfc3339
from support.callers import Client
from support.envelopes import Refusals
from support.people import Person, Promised

LEDGER = "/api/trust/ledger"
EVIDENCE = "/api/trust/evidence"
FEEDBACK = "/api/trust/feedback"
STATUS = "/api/trust/status"
ENTRY = {"event_type": "change", "action": "approved"}
FILE = {"name": "report.pdf", "sha256": "0" * 64}
UNSEALED = {"hash", "status", "created_at"}


def hash_of(told: Any) -> str:
    """SHA-256 of compact JSON with sorted keys."""
    return sha256(json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def test_a_pack_seals_what_the_ledger_held(admin: Any, promised: Promised) -> None:
    """Whoever has pack and ledger can compute both hashes; what is entered later is in no earlier pack."""
    for _ in range(3):
        promised(admin.post(LEDGER, json=ENTRY), 201)
    given = {"name": "Für den Herbst", "type": "quarterly", "content": "ok", "attachments": [FILE]}
    pack = promised(admin.post(EVIDENCE, json=given), 201)
    promised(admin.post(LEDGER, json=ENTRY), 201)
    assert (pack["status"], pack["event_count"], pack["description"]) == ("generated", 3, "")
    assert pack | given == pack
    entries = promised(admin.get(LEDGER))["events"][::-1]
    lines = "".join(f"{entry['hash']}\n" for entry in entries[:3])
    assert pack["entries_hash"] == sha256(lines.encode()).hexdigest()
    assert pack["hash"] == hash_of({name: value for name, value in pack.items() if name not in UNSEALED})
    told = entries[3]
    assert (told["action"], told["resource"]) == ("evidence_generated", pack["id"])
    assert told["detail"] == {"event_count": 3, "hash": pack["hash"]}
    assert promised(admin.get(EVIDENCE))["packs"] == [pack]
    assert promised(admin.get(STATUS))["evidence"] == 1


def test_a_pack_is_of_the_span_it_names(admin: Any, promised: Promised, refused: Refusals) -> None:
    """By moments or by whole days, both ends included; it never ends later than now."""
    moments = []
    for _ in range(3):
        promised(admin.post(LEDGER, json=ENTRY), 201)
        moments.append(promised(admin.get(LEDGER, params={"limit": 1}))["events"][0]["created_at"])
    today, yesterday = (now().date() - timedelta(days=days) for days in (0, 1))
    later = rfc3339(now() + timedelta(days=9))

    def count(**span: Any) -> int:
        pack = promised(admin.post(EVIDENCE, json={"name": "n"} | span), 201)
        assert pack["date_to"] <= rfc3339(now(), "microseconds")
        return int(pack["event_count"])

    assert count(date_from=moments[1], date_to=moments[1]) == 1
    assert count(date_to=moments[1]) == 2
    assert count(date_from=f"{yesterday}", date_to=f"{yesterday}") == 0
    assert count(date_from=f"{yesterday}", date_to=later) == 3 + 3
    assert count(date_from=f"{today - timedelta(days=1)}", date_to=f"{today}") == 3 + 4
    for span in ({"date_from": moments[1], "date_to": moments[0]}, {"date_from": later}):
        refused(admin.post(EVIDENCE, json={"name": "n"} | span), 422, "unprocessable")
    assert promised(admin.get(EVIDENCE))["total"] == 5


def test_a_pack_of_very_much_is_of_all_of_it(admin: Any, promised: Promised, application: Application) -> None:
    """However many entries the span has, and however they are read."""
    with transaction(application.runtime.engine):
        rows = ledger.append(*(ledger.Event("load", "added", "test", detail={"n": n}) for n in range(2_100)))
    pack = promised(admin.post(EVIDENCE, json={"name": "n"}), 201)
    lines = "".join(f"{row['hash']}\n" for row in rows)
    assert (pack["event_count"], pack["entries_hash"]) == (2_100, sha256(lines.encode()).hexdigest())


def test_packs_are_listed_page_by_page(admin: Any, promised: Promised) -> None:
    """Newest first; one made of an empty ledger is of nothing."""
    for name in ("a", "b", "c"):
        promised(admin.post(EVIDENCE, json={"name": name}), 201)
    page = promised(admin.get(EVIDENCE, params={"limit": 2}))
    assert [(pack["name"], pack["event_count"]) for pack in page["packs"]] == [("c", 2), ("b", 1)]
    rest = promised(admin.get(EVIDENCE, params={"limit": 2, "cursor": page["next_cursor"]}))
    assert [(pack["name"], pack["event_count"]) for pack in rest["packs"]] == [("a", 0)]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "n", "date_from": "soon"},
        {"name": "n", "date_from": "2026-13-01"},
        {"name": "n", "attachments": [{"name": "x", "sha256": "abc"}]},
    ],
)
def test_malformed_evidence_is_refused(admin: Any, refused: Refusals, body: dict[str, Any]) -> None:
    """Nothing is made, and nothing entered."""
    refused(admin.post(EVIDENCE, json=body), 400, "bad_request")
    assert (admin.get(EVIDENCE).json()["total"], admin.get(LEDGER).json()["total"]) == (0, 0)


@pytest.mark.parametrize("day", ["0000-01-01", "0001-01-01", "9999-12-31"])
def test_no_day_is_too_far_away(admin: Any, promised: Promised, day: str) -> None:
    """A span may begin before there was anything, and end when nobody knows."""
    promised(admin.post(LEDGER, json=ENTRY), 201)
    name = "date_to" if day > "2000" else "date_from"
    assert promised(admin.post(EVIDENCE, json={"name": "n", name: day}), 201)["event_count"] == 1


def test_users_say_what_they_think_of_their_answers(client: Client, promised: Promised) -> None:
    """By request or trace; the ledger knows that they did, not what they said nor who they are."""
    ask = {"model": "sandbox", "messages": [{"role": "user", "content": "hello"}]}
    answer = client.user.post("/v1/chat/completions", json=ask)
    trace, request = answer.headers["x-stockyard-trace-id"], answer.headers["x-request-id"]
    said = {"rating": -1, "comment": "Wrong: ünsinn", "tags": ["wrong"]}
    first = promised(client.user.post(FEEDBACK, json=said | {"trace_id": trace}), 201)
    promised(client.user.post(FEEDBACK, json={"request_id": request, "rating": 5}), 201)
    newest, oldest = promised(client.admin.get(FEEDBACK))["feedback"]
    assert oldest | said | {"request_id": trace} == oldest
    assert (newest["request_id"], newest["comment"], newest["tags"]) == (request, "", [])
    assert newest["user_email"] == oldest["user_email"] == client.user.get("/api/auth/me").json()["user"]["email"]
    assert promised(client.admin.get(FEEDBACK, params={"request_id": request}))["total"] == 1
    entries = promised(client.admin.get(LEDGER, params={"event_type": "feedback"}))["events"]
    assert entries[1]["detail"] == {"feedback_id": first["id"], "rating": -1}
    assert (entries[1]["resource"], entries[1]["action"]) == (trace, "submitted")
    assert entries[1]["actor"].startswith("user:")
    assert not [word for word in ("ünsinn", newest["user_email"]) if word in json.dumps(entries, ensure_ascii=False)]
    assert promised(client.admin.get(STATUS))["feedback_count"] == 2


def test_nobody_speaks_for_others(client: Client, ada: Person, promised: Promised, refused: Refusals) -> None:
    """Neither under their name nor of their calls; an operator may, who speaks for whoever has no key."""
    ask = {"model": "sandbox", "messages": [{"role": "user", "content": "hello"}]}
    trace = client.user.post("/v1/chat/completions", json=ask).headers["x-stockyard-trace-id"]
    deadline = time.monotonic() + 5
    while client.admin.get(f"/api/observe/traces/{trace}").status_code != 200 and time.monotonic() < deadline:
        time.sleep(0.05)
    said = {"trace_id": trace, "rating": 1}
    refused(ada.caller.post(FEEDBACK, json=said), 404, "not_found")
    refused(client.user.post(FEEDBACK, json=said | {"user_email": "bea@example.com"}), 403, "forbidden")
    assert promised(client.admin.get(FEEDBACK))["total"] == 0
    promised(client.admin.post(FEEDBACK, json=said | {"user_email": "Bea@Example.com"}), 201)
    promised(client.admin.post(FEEDBACK, json=said), 201)
    found = promised(client.admin.get(FEEDBACK))["feedback"]
    assert [one.get("user_email") for one in found] == [None, "bea@example.com"]


@pytest.mark.parametrize(
    "body",
    [
        {"rating": 1},
        {"request_id": "r"},
        {"request_id": "r", "trace_id": "t", "rating": 1},
        {"request_id": "r", "rating": 6},
        {"request_id": "r", "rating": -2},
        {"request_id": "r", "rating": 1, "tags": [""]},
        {"request_id": "r", "rating": 1, "user_email": "nobody"},
    ],
)
def test_malformed_feedback_is_refused(admin: Any, refused: Refusals, body: dict[str, Any]) -> None:
    """Nothing is stored, and nothing entered."""
    refused(admin.post(FEEDBACK, json=body), 400, "bad_request")
    assert (admin.get(FEEDBACK).json()["total"], admin.get(LEDGER).json()["total"]) == (0, 0)


def test_evidence_and_others_feedback_are_for_operators(user: Any, anonymous: Any, refused: Refusals) -> None:
    """A user gives feedback, and reads none."""
    refused(user.get(FEEDBACK), 403, "forbidden")
    refused(user.get(EVIDENCE), 403, "forbidden")
    refused(user.post(EVIDENCE, json={"name": "n"}), 403, "forbidden")
    refused(anonymous.post(FEEDBACK, json={"request_id": "r", "rating": 1}), 401, "unauthorized")
