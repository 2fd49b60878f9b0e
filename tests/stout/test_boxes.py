"""Boxes of an org: registered, changed, removed, and given new keys.

`create_box`, `list_boxes`, `get_box`, `update_box`, `delete_box`, `create_box_setup`, `rotate_box_key`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from models.audit import AuditEntry
from models.base import now, transaction
from models.boxes import Box, Device, Heartbeat
from support.accounts import People
from support.envelopes import Refusals
from support.fleet import NOWHERE, Fleet


def names(answer: Any) -> list[str]:
    """The names in a page of boxes."""
    assert answer.status_code == 200, answer.text
    return [box["name"] for box in answer.json()["items"]]


def test_a_box_starts_provisioning_with_a_setup_of_an_hour(fleet: Fleet) -> None:
    """It exists before the machine does; the setup is how the machine becomes it."""
    answer = fleet.owner.post(f"{fleet.path}/boxes", json={"name": "bench-1", "ipAddress": "2001:db8::7"})
    box, setup = answer.json()["box"], answer.json()["setup"]
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{fleet.path}/boxes/{box['id']}"
    assert box["status"] == "provisioning"
    assert box["lock"] == {"locked": False}
    assert (box["groupIds"], box["deviceCount"], box["accessGuard"]) == ([], 0, False)
    assert setup["token"] in setup["command"]
    assert setup["command"].startswith("curl -fsSL ")
    assert fleet.owner.get(f"{fleet.path}/boxes/{box['id']}").json() == box


def test_a_box_needs_a_name(fleet: Fleet, refused: Refusals) -> None:
    """The refusal names the field as Zod would."""
    body = refused(fleet.owner.post(f"{fleet.path}/boxes", json={"ipAddress": "192.0.2.17"}), 400)
    assert body["issues"] == [{"path": ["body", "name"], "message": "Required"}]


@pytest.mark.parametrize("address", ["", "bench.local", "192.0.2.300", "192.0.2.17\n"])
def test_a_box_needs_an_address_that_is_one(fleet: Fleet, refused: Refusals, address: str) -> None:
    """Whatever reaches for the box later must find an address there."""
    refused(fleet.owner.post(f"{fleet.path}/boxes", json={"name": "bench-1", "ipAddress": address}), 400)


def test_names_are_unique_in_an_org_and_free_in_another(fleet: Fleet, people: People, refused: Refusals) -> None:
    """The clash says which field it is about."""
    first = fleet.box("bench-1")
    body = refused(fleet.owner.post(f"{fleet.path}/boxes", json={"name": "bench-1", "ipAddress": "192.0.2.1"}), 409)
    assert body["field"] == "name"
    assert "name" in body["message"]
    second = fleet.box("bench-2")
    assert refused(fleet.owner.patch(second, json={"name": "bench-1"}), 409)["field"] == "name"
    assert fleet.owner.patch(first, json={"name": "bench-1"}).status_code == 200
    Fleet(people, "umbrella").box("bench-1")


def test_only_a_confirmed_address_registers_boxes(fleet: Fleet, refused: Refusals) -> None:
    """Somebody who signed up with another's address must not put machines into their name."""
    newcomer = fleet.join("new@acme.example", "admin", email_verified=False)
    refused(newcomer.post(f"{fleet.path}/boxes", json={"name": "bench-1", "ipAddress": "192.0.2.1"}), 403)
    assert names(fleet.owner.get(f"{fleet.path}/boxes")) == []


def test_members_neither_register_nor_change_boxes(fleet: Fleet, refused: Refusals) -> None:
    """They may use what was granted to them, and nothing more."""
    member, box = fleet.join("bob@acme.example"), fleet.box()
    refused(member.post(f"{fleet.path}/boxes", json={"name": "mine", "ipAddress": "192.0.2.1"}), 403)
    refused(member.patch(box, json={"name": "mine"}), 403)
    refused(member.delete(box), 403)
    refused(member.post(f"{box}/rotate-api-key"), 403)
    refused(member.post(f"{box}/install-stout"), 403)


def test_a_foreign_box_is_not_found(fleet: Fleet, people: People, refused: Refusals) -> None:
    """Its being there is nobody's business; nor are ids without a box behind them told apart."""
    foreign = fleet.box().rpartition("/")[2]
    other = Fleet(people, "umbrella")
    for path in (f"{other.path}/boxes/{foreign}", f"{other.path}/boxes/{NOWHERE}"):
        assert refused(other.owner.get(path), 404)["message"] == "Box not found"
        assert refused(other.owner.patch(path, json={}), 404)["message"] == "Box not found"
        assert refused(other.owner.delete(path), 404)["message"] == "Box not found"
    assert refused(other.owner.get(f"{fleet.path}/boxes/{foreign}"), 404)["message"] == "Organization not found"
    issue = refused(fleet.owner.get(f"{fleet.path}/boxes/bench"), 400)["issues"][0]
    assert issue["path"] == ["params", "boxId"]


def test_a_box_is_changed_field_by_field(fleet: Fleet) -> None:
    """What is left out stays; null takes the description away."""
    box = fleet.box(description="By the window")
    seen = fleet.owner.patch(box, json={"ipAddress": "192.0.2.99", "accessGuard": True}).json()
    assert (seen["name"], seen["description"]) == ("bench-1", "By the window")
    assert (seen["ipAddress"], seen["accessGuard"]) == ("192.0.2.99", True)
    assert seen["updatedAt"] > seen["createdAt"]
    assert "description" not in fleet.owner.patch(box, json={"description": None}).json()


def test_a_box_is_put_into_groups(fleet: Fleet, refused: Refusals) -> None:
    """`groupIds` is the whole set; a group of another org is none."""
    power, radio = (fleet.group(slug).rpartition("/")[2] for slug in ("power", "radio"))
    box = fleet.box(groupIds=[power, power])
    assert fleet.owner.get(box).json()["groupIds"] == [power]
    assert fleet.owner.patch(box, json={"groupIds": [radio]}).json()["groupIds"] == [radio]
    assert refused(fleet.owner.patch(box, json={"groupIds": [NOWHERE]}), 404)["message"] == "Box group not found"
    assert fleet.owner.get(box).json()["groupIds"] == [radio]
    fleet.box("bench-2")
    assert names(fleet.owner.get(f"{fleet.path}/boxes", params={"groupId": radio})) == ["bench-1"]
    assert names(fleet.owner.get(f"{fleet.path}/boxes", params={"groupId": power})) == []
    assert fleet.owner.patch(box, json={"groupIds": []}).json()["groupIds"] == []


def test_lists_are_paged_newest_first(fleet: Fleet, refused: Refusals) -> None:
    """Twenty to a page, a hundred at most, and nothing past the end."""
    for number in range(21):
        fleet.box(f"bench-{number}")
    first = fleet.owner.get(f"{fleet.path}/boxes").json()
    assert (len(first["items"]), first["total"], first["page"], first["limit"]) == (20, 21, 1, 20)
    assert first["items"][0]["name"] == "bench-20"
    assert names(fleet.owner.get(f"{fleet.path}/boxes", params={"page": 2})) == ["bench-0"]
    assert names(fleet.owner.get(f"{fleet.path}/boxes", params={"page": 3, "limit": 100})) == []
    issue = refused(fleet.owner.get(f"{fleet.path}/boxes", params={"limit": 101}), 400)["issues"][0]
    assert issue["path"] == ["query", "limit"]


def test_lists_are_filtered(fleet: Fleet, people: People) -> None:
    """By state, by silence, and by what is written of a box; a percent sign is a percent sign."""
    on = fleet.enrol(fleet.register("power 100%", description="Left")["setup"])
    assert on.post("/api/box/heartbeat", json={}).status_code == 200
    fleet.box("radio", ipAddress="198.51.100.7")
    listed = f"{fleet.path}/boxes"
    assert names(fleet.owner.get(listed, params={"status": "online"})) == ["power 100%"]
    assert names(fleet.owner.get(listed, params={"status": "provisioning"})) == ["radio"]
    for text, found in {
        "POWER": ["power 100%"],
        "%": ["power 100%"],
        "left": ["power 100%"],
        "51.100": ["radio"],
    }.items():
        assert names(fleet.owner.get(listed, params={"search": text})) == found
    assert names(fleet.owner.get(listed, params={"heartbeatOlderThanSeconds": 60})) == ["radio"]
    with transaction(people.engine) as session:
        session.execute(update(Box).where(Box.name != "radio").values(last_heartbeat_at=now() - timedelta(seconds=61)))
    assert names(fleet.owner.get(listed, params={"heartbeatOlderThanSeconds": 60})) == ["radio", "power 100%"]


def test_a_rotated_key_ends_at_once(fleet: Fleet, refused: Refusals) -> None:
    """The old key is refused by the very next request, the new one works, and neither is ever shown again."""
    made = fleet.register()
    box, old = f"{fleet.path}/boxes/{made['box']['id']}", fleet.enrol(made["setup"])
    assert old.get("/api/box/me").status_code == 200
    body = fleet.owner.post(f"{box}/rotate-api-key").json()
    assert refused(old.get("/api/box/me"), 401)["message"] == "Invalid API key"
    assert fleet.as_box(body["apiKey"]).get("/api/box/me").status_code == 200
    seen = fleet.owner.get(box).json()
    assert seen["apiKeyPrefix"] == body["apiKey"][:12]
    assert seen["apiKeyRotatedAt"] == body["rotatedAt"]
    assert body["apiKey"] not in str(seen)


def test_a_removed_box_takes_its_key_and_nets_with_it(fleet: Fleet, people: People, refused: Refusals) -> None:
    """Nothing of it is left to call with or to look at."""
    made = fleet.register()
    path, box = f"{fleet.path}/boxes/{made['box']['id']}", fleet.enrol(made["setup"])
    box.post("/api/box/heartbeat", json={"devices": [{"netName": "psu", "type": "PowerSupply"}]})
    assert fleet.owner.delete(path).status_code == 204
    assert refused(box.get("/api/box/me"), 401)["message"] == "Invalid API key"
    refused(fleet.owner.get(path), 404)
    refused(fleet.owner.delete(path), 404)
    with transaction(people.engine, write=False) as session:
        assert [session.scalar(select(func.count()).select_from(kind)) for kind in (Box, Device, Heartbeat)] == [
            0,
            0,
            0,
        ]


def test_what_is_done_to_boxes_is_written_down(fleet: Fleet, people: People) -> None:
    """By whom, to which box, in which org; without the key."""
    made = fleet.register()
    fleet.enrol(made["setup"])
    path = f"{fleet.path}/boxes/{made['box']['id']}"
    fleet.owner.patch(path, json={"accessGuard": True})
    key = fleet.owner.post(f"{path}/rotate-api-key").json()["apiKey"]
    fleet.owner.post(f"{path}/install-stout")
    fleet.owner.delete(path)
    with transaction(people.engine, write=False) as session:
        rows = session.scalars(
            select(AuditEntry).where(AuditEntry.resource_type == "box").order_by(AuditEntry.id)
        ).all()
    acts = ["box.register", "box.enroll", "box.update", "box.rotate_key", "box.setup", "box.delete"]
    assert [row.action for row in rows] == acts
    assert {(row.resource_id, row.org_id) for row in rows} == {(made["box"]["id"], fleet.org.id)}
    assert [row.actor_type for row in rows] == ["user", "system", "user", "user", "user", "user"]
    assert key not in str([row.details for row in rows])
