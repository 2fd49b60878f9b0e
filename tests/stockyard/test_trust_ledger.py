"""The ledger: only ever added to, and whatever is done to it afterwards is found."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy import delete, insert, update
from sqlalchemy.orm import Session

from app.factory import Application
from app.services.trust import ledger
from models.base import now, transaction
from models.trust import LedgerEntry
from support.callers import Client
from support.envelopes import Refusals
from support.people import Promised
from support.together import at_once

LEDGER = "/api/trust/ledger"
VERIFY = "/api/trust/ledger/verify"
STATUS = "/api/trust/status"
CHANGE = {"event_type": "change", "action": "approved"}
FIELDS = ("prev_hash", "id", "event_type", "actor", "resource", "action", "detail", "created_at")


def test_an_entry_is_added_and_listed_newest_first(admin: Any, promised: Promised) -> None:
    """With who did what, and whatever there was to say."""
    first = promised(admin.post(LEDGER, json=CHANGE), 201)
    body = CHANGE | {"actor": "ada", "resource": "gpt-4o", "detail": {"b": [1, None, 0.5], "a": "ü\u2028"}}
    second = promised(admin.post(LEDGER, json=body), 201)
    assert (first["id"], first["prev_hash"], second["id"]) == (1, "", 2)
    assert second["prev_hash"] == first["hash"]
    listed = promised(admin.get(LEDGER))
    assert [entry["id"] for entry in listed["events"]] == [2, 1]
    assert listed["events"][0] | body == listed["events"][0]
    assert (listed["events"][1]["actor"], listed["events"][1]["detail"], listed["chain_valid"]) == ("admin", {}, True)


def test_entries_are_found_by_kind_actor_and_time(admin: Any, promised: Promised) -> None:
    """An auditor asks for a quarter, or for one person; a page follows the other."""
    for actor in ("ada", "bob", "ada"):
        promised(admin.post(LEDGER, json=CHANGE | {"actor": actor}), 201)
    promised(admin.post(LEDGER, json=CHANGE | {"event_type": "other"}), 201)

    def ids(**params: Any) -> list[int]:
        return [entry["id"] for entry in promised(admin.get(LEDGER, params=params))["events"]]

    second = promised(admin.get(LEDGER, params={"limit": 1, "offset": 2}))["events"][0]["created_at"]
    assert ids(actor="ada") == [3, 1]
    assert ids(event_type="other") == [4]
    assert (ids(to=second), ids(**{"from": second})) == ([2, 1], [4, 3, 2])
    page = promised(admin.get(LEDGER, params={"limit": 3}))
    assert (page["has_more"], ids(limit=3, cursor=page["next_cursor"])) == (True, [1])


def test_anybody_can_compute_the_hashes(admin: Any, promised: Promised) -> None:
    """From what the list shows, with nothing of this server: that is what makes them evidence."""
    for detail in (False, "text", 3, {"ключ": "☃", "b": {"z": 1, "a": [True, "<&>"]}}, [1.25, "\\"]):
        promised(admin.post(LEDGER, json=CHANGE | {"detail": detail}), 201)
    before = ""
    for entry in reversed(promised(admin.get(LEDGER))["events"]):
        told = json.dumps(
            [entry[name] for name in FIELDS], sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).encode()
        assert (entry["prev_hash"], entry["hash"]) == (before, sha256(told).hexdigest())
        before = entry["hash"]
    assert promised(admin.get(VERIFY)) == {"valid": True, "events_checked": 5, "last_hash": before}


def _last_two_gone(session: Session) -> None:
    session.execute(delete(LedgerEntry).where(LedgerEntry.id > 4))


def _one_put_in(session: Session) -> None:
    row = {"id": 7, "event_type": "x", "actor": "x", "resource": "", "action": "x", "detail": "{}"}
    row |= {"created_at": now(), "prev_hash": session.get_one(LedgerEntry, 6).hash}
    session.execute(insert(LedgerEntry).values(row | {"hash": ledger.linked(row)}))


def _changed(number: int, **values: Any) -> Callable[[Session], None]:
    def change(session: Session) -> None:
        session.execute(update(LedgerEntry).where(LedgerEntry.id == number).values(**values))

    return change


def _rewritten(number: int) -> Callable[[Session], None]:
    """An entry changed, and its hash made to fit."""

    def change(session: Session) -> None:
        entry = session.get_one(LedgerEntry, number)
        row = {name: getattr(entry, name) for name in FIELDS} | {"actor": "nobody"}
        _changed(number, actor="nobody", hash=ledger.linked(row))(session)

    return change


@pytest.mark.parametrize(
    ("harm", "broken"),
    [
        (_changed(3, actor="mallory"), 3),
        (_changed(1, detail='{"quiet": true}'), 1),
        (_changed(2, created_at=now()), 2),
        (_changed(4, prev_hash="0" * 64), 4),
        (_rewritten(3), 4),
        (lambda session: session.execute(delete(LedgerEntry).where(LedgerEntry.id == 3)), 3),
        (_last_two_gone, 5),
        (_one_put_in, 7),
        (lambda session: session.execute(delete(LedgerEntry)), 1),
    ],
    ids=["actor", "detail", "time", "link", "rewritten", "removed", "cut", "put in", "emptied"],
)
def test_whatever_is_done_to_the_ledger_is_found(
    admin: Any, promised: Promised, application: Application, harm: Callable[[Session], None], broken: int
) -> None:
    """By whoever can write to the database, at the first entry that no longer holds; the status says so too."""
    for number in range(6):
        promised(admin.post(LEDGER, json=CHANGE | {"detail": {"number": number}}), 201)
    assert promised(admin.get(VERIFY))["valid"] is True
    with transaction(application.runtime.engine) as session:
        harm(session)
    found = promised(admin.get(VERIFY))
    assert (found["valid"], found["broken_at_id"], found["events_checked"]) == (False, broken, broken - 1)
    assert promised(admin.get(STATUS))["chain_valid"] is False
    assert promised(admin.get(LEDGER))["chain_valid"] is False


def test_a_last_entry_that_fits_and_is_another_is_found(
    admin: Any, promised: Promised, application: Application
) -> None:
    """No entry after it tells, so the ledger's end has to."""
    for _ in range(3):
        promised(admin.post(LEDGER, json=CHANGE), 201)
    with transaction(application.runtime.engine) as session:
        _rewritten(3)(session)
    found = promised(admin.get(VERIFY))
    assert (found["valid"], found["broken_at_id"], found["events_checked"]) == (False, 3, 3)
    assert promised(admin.get(STATUS))["chain_valid"] is False


def test_a_long_ledger_is_walked_whole_and_its_tail_alone(
    admin: Any, promised: Promised, application: Application
) -> None:
    """The status looks at the last hundred entries only: an old wound is what verifying is for."""
    told = [ledger.Event("load", "added", "test", detail={"n": n}) for n in range(2_500)]
    with transaction(application.runtime.engine):
        ledger.append(*told)
    assert promised(admin.get(VERIFY))["events_checked"] == 2_500
    with transaction(application.runtime.engine) as session:
        _changed(1_500, actor="mallory")(session)
    assert promised(admin.get(VERIFY))["broken_at_id"] == 1_500
    assert promised(admin.get(STATUS))["chain_valid"] is True


def test_entries_added_at_once_are_one_chain(admin: Any, promised: Promised) -> None:
    """None is lost, none gets another's number, and none follows from one that was never stored."""
    added = at_once(*(lambda n=n: admin.post(LEDGER, json=CHANGE | {"actor": f"a{n}"}) for n in range(12)))
    assert sorted(promised(response, 201)["id"] for response in added) == list(range(1, 13))
    assert promised(admin.get(VERIFY))["events_checked"] == 12
    assert promised(admin.get(VERIFY))["valid"] is True


def test_policies_made_changed_and_removed_are_in_the_ledger(admin: Any, promised: Promised) -> None:
    """And what was refused is not: an entry is stored with the change it tells of, or not at all."""
    policy = {"name": "no-pii", "type": "block", "pattern": "x"}
    place = f"/api/trust/policies/{promised(admin.post('/api/trust/policies', json=policy), 201)['id']}"
    assert admin.post("/api/trust/policies", json=policy).status_code == 409
    promised(admin.put(place, json={"enabled": False}))
    promised(admin.delete(place))
    entries = promised(admin.get(LEDGER, params={"event_type": "admin_action"}))["events"]
    assert [entry["action"] for entry in entries] == ["policy_deleted", "policy_updated", "policy_created"]
    assert {(entry["actor"], entry["resource"]) for entry in entries} == {("admin", "no-pii")}
    assert entries[1]["detail"] == {"id": int(place.rsplit("/", 1)[1]), "type": "block", "enabled": False}


def test_each_call_that_broke_a_policy_is_in_the_ledger(client: Client, promised: Promised) -> None:
    """By policy, way and trace, beside whatever else is added meanwhile; the text is nowhere in it."""
    for type_ in ("log", "block"):
        said = {"name": type_, "type": type_, "pattern": f"{type_}-canary", "target": "request"}
        promised(client.admin.post("/api/trust/policies", json=said), 201)
    ask = {"model": "sandbox", "messages": [{"role": "user", "content": "log-canary log-canary block-canary"}]}
    calls = at_once(*(lambda: client.user.post("/v1/chat/completions", json=ask) for _ in range(5)))
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + 5
    while len(found) < 10 and time.monotonic() < deadline:
        promised(client.admin.post(LEDGER, json=CHANGE), 201)
        found = client.admin.get(LEDGER, params={"event_type": "policy_violation"}).json()["events"]
        time.sleep(0.05)
    told = {(e["action"], e["detail"]["policy"], e["detail"]["matches"], e["detail"]["trace_id"]) for e in found}
    traces = {call.headers["x-stockyard-trace-id"] for call in calls}
    assert told == {(type_, type_, n, trace) for type_, n in (("log", 2), ("block", 1)) for trace in traces}
    assert {(e["actor"], e["resource"], e["detail"]["direction"]) for e in found} == {("proxy", "sandbox", "request")}
    assert "canary" not in json.dumps(found)
    assert promised(client.admin.get(VERIFY))["valid"] is True


def test_the_status_counts(admin: Any, promised: Promised) -> None:
    """What there is, from nothing on."""
    nothing = {"app": "trust", "status": "running", "ledger_events": 0, "chain_valid": True}
    nothing |= {"policies": 0, "feedback_count": 0, "evidence": 0}
    assert promised(admin.get(STATUS)) == nothing
    assert promised(admin.get(VERIFY)) == {"valid": True, "events_checked": 0, "last_hash": ""}
    promised(admin.post("/api/trust/policies", json={"name": "p", "type": "log", "pattern": "x"}), 201)
    assert promised(admin.get(STATUS)) == nothing | {"ledger_events": 1, "policies": 1}


@pytest.mark.parametrize(
    "body", [{}, {"action": "x"}, CHANGE | {"id": 5}, CHANGE | {"actor": "a\0"}, CHANGE | {"actor": ""}]
)
def test_a_malformed_entry_is_refused(admin: Any, refused: Refusals, body: dict[str, Any]) -> None:
    """And nothing is added."""
    refused(admin.post(LEDGER, json=body), 400, "bad_request")
    assert admin.get(LEDGER).json()["total"] == 0


def test_a_detail_nobody_could_read_is_refused(admin: Any, refused: Refusals, promised: Promised) -> None:
    """Nested beyond reason; what is within reason is kept, whatever its letters and numbers."""
    deep: Any = 1
    for _ in range(400):
        deep = [deep]
    refused(admin.post(LEDGER, json=CHANGE | {"detail": deep}), 400, "bad_request")
    promised(admin.post(LEDGER, json=CHANGE | {"detail": {"n": 2**80, "s": "\0"}}), 201)
    assert promised(admin.get(LEDGER))["events"][0]["detail"] == {"n": 2.0**80, "s": "\0"}
    assert promised(admin.get(VERIFY))["valid"] is True


def test_the_ledger_is_for_operators_and_has_no_eraser(user: Any, admin: Any, refused: Refusals) -> None:
    """A user reads nothing of it, and nobody changes it."""
    refused(user.get(LEDGER), 403, "forbidden")
    refused(user.post(LEDGER, json=CHANGE), 403, "forbidden")
    refused(user.get(VERIFY), 403, "forbidden")
    refused(user.get(STATUS), 403, "forbidden")
    refused(admin.delete(LEDGER), 405, "method_not_allowed")
