"""How a machine becomes a box, and what the box then says and asks; `list_heartbeats` shows what it said.

`get_install_script`, `enroll_box`, `get_own_box`, `send_heartbeat`, `list_authorized_keys`.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from app.security.keys import fingerprint, legacy_fingerprint, mint_box
from models.base import now, transaction
from models.boxes import Box, BoxSetup, Device
from models.sessions import SshKey
from support.accounts import People
from support.callers import Caller
from support.envelopes import Refusals
from support.fleet import Fleet

ENROLL, SCRIPT, BEAT, ME = "/api/box/enroll", "/api/box/install-stout", "/api/box/heartbeat", "/api/box/me"
PSU = {"netName": "psu1", "name": "Supply", "type": "PowerSupply", "capabilities": {"channel": 1, "serial": None}}
UART = {"netName": "uart1", "type": "UART"}


@pytest.fixture
def made(fleet: Fleet) -> dict[str, Any]:
    """A registered box with its setup."""
    return fleet.register()


@pytest.fixture
def path(fleet: Fleet, made: dict[str, Any]) -> str:
    """The box's path."""
    return f"{fleet.path}/boxes/{made['box']['id']}"


@pytest.fixture
def box(fleet: Fleet, made: dict[str, Any]) -> Caller:
    """The box, enrolled."""
    return fleet.enrol(made["setup"])


def devices(people: People) -> list[tuple[str, str, str, bool]]:
    """Every net known, in the order they came."""
    with transaction(people.engine, write=False) as session:
        rows = session.scalars(select(Device).order_by(Device.id)).all()
    return [(row.net_name, row.name, row.type, row.present) for row in rows]


def test_a_token_is_exchanged_for_a_key_once(fleet: Fleet, made: dict[str, Any], refused: Refusals) -> None:
    """The answer is what the box keeps; a second exchange finds nothing."""
    body = {"token": made["setup"]["token"], "hostname": "bench-1.local", "lagerVersion": "1.4.0"}
    answer = fleet.people.anonymous.post(ENROLL, json=body)
    assert answer.status_code == 201
    assert (answer.json()["boxId"], answer.json()["orgId"]) == (made["box"]["id"], fleet.org.uid)
    control = answer.json()["controlPlane"]
    assert re.fullmatch(r"stout_[0-9a-f]{64}", control["api_key"])
    assert (control["heartbeat_interval_seconds"], control["enabled"]) == (30, True)
    assert control["url"] == fleet.people.client.application.runtime.settings.base_url
    seen = fleet.as_box(control["api_key"]).get(ME).json()
    assert (seen["id"], seen["hostname"], seen["lagerVersion"]) == (made["box"]["id"], "bench-1.local", "1.4.0")
    assert seen["status"] == "provisioning"
    refused(fleet.people.anonymous.post(ENROLL, json=body), 410)
    refused(fleet.people.anonymous.get(SCRIPT, params={"token": body["token"]}), 410)


def test_of_two_machines_with_one_token_one_becomes_the_box(fleet: Fleet, made: dict[str, Any]) -> None:
    """However close together they ask; the winner's key works."""
    body = {"token": made["setup"]["token"]}
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: fleet.people.anonymous.post(ENROLL, json=body), range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 410, 410, 410, 410, 410]
    [won] = [answer.json() for answer in answers if answer.status_code == 201]
    assert fleet.as_box(won["controlPlane"]["api_key"]).get(ME).status_code == 200


def test_a_token_ends_after_an_hour(fleet: Fleet, made: dict[str, Any], people: People, refused: Refusals) -> None:
    """And one that never was is refused alike."""
    with transaction(people.engine) as session:
        [setup] = session.scalars(select(BoxSetup)).all()
        assert timedelta(minutes=59) < setup.expires_at - now() <= timedelta(hours=1)
        session.execute(update(BoxSetup).values(expires_at=now() - timedelta(seconds=1)))
    for token in (made["setup"]["token"], "never-was"):
        refused(people.anonymous.post(ENROLL, json={"token": token}), 410)
        refused(people.anonymous.get(SCRIPT, params={"token": token}), 410)


def test_a_new_setup_replaces_the_old_one_and_then_the_key(
    fleet: Fleet, made: dict[str, Any], path: str, box: Caller, refused: Refusals
) -> None:
    """A lost key is replaced by setting the box up again; until then the old one works."""
    first = fleet.owner.post(f"{path}/install-stout").json()
    second = fleet.owner.post(f"{path}/install-stout").json()
    refused(fleet.people.anonymous.post(ENROLL, json={"token": first["token"]}), 410)
    assert box.get(ME).status_code == 200
    again = fleet.enrol(second)
    assert refused(box.get(ME), 401)["message"] == "Invalid API key"
    assert again.get(ME).json()["id"] == made["box"]["id"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": "stout_1234"},
        {"x-api-key": "garbage"},
        {"x-api-key": mint_box()},
        {"x-api-key": "stout_" + "A" * 64},
        {"authorization": f"Bearer {mint_box()}"},
    ],
)
def test_a_box_is_told_by_its_key_alone(fleet: Fleet, refused: Refusals, headers: dict[str, str]) -> None:
    """Nothing else opens a box's routes."""
    caller = fleet.people.client.bearing(**headers)
    told = "Invalid API key" if "x-api-key" in headers else "Unauthorized"
    assert refused(caller.get(ME), 401)["message"] == told
    assert refused(caller.post(BEAT, json={}), 401)["message"] == told


def test_keys_and_tokens_open_only_their_own_routes(fleet: Fleet, path: str, box: Caller, refused: Refusals) -> None:
    """A box does nothing in a user's place, nor a user in a box's."""
    refused(box.get(path), 401)
    refused(fleet.owner.get(ME), 401)


@pytest.mark.settings(admin_key="sy_admin_" + "k" * 40)
def test_the_operators_key_is_no_boxs_key_and_no_token(fleet: Fleet, path: str, refused: Refusals) -> None:
    """It opens the gateway's control plane, and no org it is not a member of."""
    key = "sy_admin_" + "k" * 40
    assert refused(fleet.as_box(key).get(ME), 401)["message"] == "Invalid API key"
    refused(fleet.people.client.bearing(key).get(path), 401)


def test_an_old_fingerprint_is_upgraded_by_its_next_use(
    fleet: Fleet, made: dict[str, Any], people: People, box: Caller
) -> None:
    """A row of bare SHA-256 works, and is one under the pepper afterwards."""
    key = box.headers["x-api-key"]
    with transaction(people.engine) as session:
        session.execute(update(Box).values(key_hash=legacy_fingerprint(key), hash_algorithm="sha256"))
    assert box.post(BEAT, json={}).status_code == 200
    with transaction(people.engine, write=False) as session:
        row = session.scalars(select(Box)).one()
    pepper = people.client.application.runtime.secrets.pepper
    assert (row.key_hash, row.hash_algorithm) == (fingerprint(key, pepper), "hmac-sha256")
    people.client.application.runtime.changed()
    assert box.get(ME).status_code == 200


def test_the_first_heartbeat_brings_a_box_online(fleet: Fleet, path: str, box: Caller) -> None:
    """With all it says of itself."""
    report = {
        "status": {"version": "1.4.0", "ip": "192.0.2.17"},
        "agentVersion": "7",
        "devices": [PSU, UART],
        "hardware": {"model": "Pi 5", "cpu": "A76", "memoryBytes": 8 << 30},
        "metrics": {"cpuPercent": 12.5, "memoryPercent": 40},
        "capabilities": {"netCommand": True, "netCommandRoles": ["UART"]},
    }
    ack = box.post(BEAT, json=report).json()
    seen = fleet.owner.get(path).json()
    assert (ack["type"], ack["boxId"], ack["heartbeatIntervalSeconds"]) == ("ack", seen["id"], 30)
    assert ack["serverTime"] == seen["lastHeartbeatAt"]
    assert (seen["status"], seen["deviceCount"]) == ("online", 2)
    assert (seen["lagerVersion"], seen["agentVersion"]) == ("1.4.0", "7")
    assert (seen["hardware"], seen["capabilities"]) == (report["hardware"], report["capabilities"])
    [kept] = fleet.owner.get(f"{path}/heartbeats").json()["items"]
    assert (kept["status"], kept["metrics"], kept["deviceCount"]) == (report["status"], report["metrics"], 2)
    assert (kept["boxId"], kept["receivedAt"], kept["agentVersion"]) == (seen["id"], ack["serverTime"], "7")


def test_nets_are_kept_once_by_their_name(box: Caller, people: People) -> None:
    """Told again they are the same; left out they are not there; back again they are the same once more."""
    box.post(BEAT, json={"devices": [PSU, PSU | {"name": "Power"}, UART]})
    once = [("psu1", "Power", "PowerSupply", True), ("uart1", "uart1", "UART", True)]
    assert devices(people) == once
    box.post(BEAT, json={"devices": [PSU | {"name": "Power"}]})
    assert devices(people) == [once[0], ("uart1", "uart1", "UART", False)]
    box.post(BEAT, json={})
    assert devices(people) == [once[0], ("uart1", "uart1", "UART", False)]
    box.post(BEAT, json={"devices": [PSU | {"name": "Power"}, UART]})
    assert devices(people) == once
    assert box.get(ME).json()["deviceCount"] == 2


def test_nets_that_are_gone_are_not_kept_without_end(box: Caller, people: People) -> None:
    """A box that names them anew each time keeps the last five hundred of them, beside those that are there."""
    for turn in range(3):
        nets = [{"netName": f"net{turn}.{number}", "type": "GPIO"} for number in range(500)]
        assert box.post(BEAT, json={"devices": nets}).status_code == 200
    kept = devices(people)
    assert [net[0] for net in kept if net[3]] == [f"net2.{number}" for number in range(500)]
    assert [net[0] for net in kept if not net[3]] == [f"net1.{number}" for number in range(500)]


def test_many_heartbeats_at_once_keep_each_net_once(box: Caller, people: People) -> None:
    """An agent that was started twice must not double its nets."""
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: box.post(BEAT, json={"devices": [PSU, UART]}), range(6)))
    assert [answer.status_code for answer in answers] == [200] * 6
    assert [net[0] for net in sorted(devices(people))] == ["psu1", "uart1"]


def test_what_a_heartbeat_leaves_out_stays(fleet: Fleet, path: str, box: Caller) -> None:
    """Not every agent says everything every time."""
    box.post(BEAT, json={"agentVersion": "7", "devices": [PSU], "capabilities": {"binaries": True}})
    box.post(BEAT, json={"status": {"version": "1.5.0"}})
    seen = fleet.owner.get(path).json()
    assert (seen["agentVersion"], seen["lagerVersion"], seen["deviceCount"]) == ("7", "1.5.0", 1)
    assert seen["capabilities"] == {"binaries": True}


@pytest.mark.parametrize(
    ("report", "place"),
    [
        ({"devices": [{"netName": "psu1"}]}, ["body", "devices", 0, "type"]),
        ({"metrics": {"cpuPercent": 101}}, ["body", "metrics", "cpuPercent"]),
        ({"mood": "good"}, ["body", "mood"]),
        ({"devices": [{**PSU, "netName": "a\0b"}]}, ["body", "devices", 0, "netName"]),
    ],
)
def test_a_heartbeat_is_checked(box: Caller, refused: Refusals, report: dict[str, Any], place: list[Any]) -> None:
    """What is kept and shown to others has a form."""
    assert refused(box.post(BEAT, json=report), 400)["issues"][0]["path"] == place


def test_heartbeats_are_listed_by_time(fleet: Fleet, path: str, box: Caller, refused: Refusals) -> None:
    """Newest first, from a moment on and before another."""
    times = [box.post(BEAT, json={}).json()["serverTime"] for _ in range(3)]
    listed = f"{path}/heartbeats"

    def told(**query: str) -> list[str]:
        return [row["receivedAt"] for row in fleet.owner.get(listed, params=query).json()["items"]]

    assert told() == times[::-1]
    assert told(limit="1", page="2") == [times[1]]
    assert told(since="2099-01-01T00:00:00Z") == []
    assert told(until="2099-01-01T00:00:00Z") == times[::-1]
    assert told(until="2000-01-01T00:00:00Z") == []
    refused(fleet.owner.get(listed, params={"since": "yesterday"}), 400)


def test_a_box_is_given_the_keys_of_who_may_use_it(fleet: Fleet, path: str, box: Caller, people: People) -> None:
    """Of managers, of those granted, and of nobody else; a suspended account's key is taken away."""
    callers = {name: fleet.join(f"{name}@acme.example") for name in ("bob", "cid", "dan")}
    callers["owner"] = fleet.owner
    fleet.owner.post(f"{path}/access", json={"userId": fleet.ids["bob@acme.example"]})
    fleet.owner.post(f"{path}/access", json={"teamId": fleet.team("shift", "cid@acme.example")})
    for number, name in enumerate(callers):
        row = SshKey(user_id=fleet.number(f"{name}@acme.example"), name=name, public_key=f"ssh-ed25519 {name}")
        row.fingerprint = f"SHA256:{number}"
        with transaction(people.engine) as session:
            session.add(row)
    page = box.get("/api/box/ssh-keys").json()
    assert {row["name"] for row in page["items"]} == {"bob", "cid", "owner"}
    [bobs] = [row for row in page["items"] if row["name"] == "bob"]
    assert (bobs["email"], bobs["userId"]) == ("bob@acme.example", fleet.ids["bob@acme.example"])
    assert bobs["publicKey"] == "ssh-ed25519 bob"
    assert (page["total"], page["page"], page["limit"]) == (3, 1, 20)
    people.suspend("bob@acme.example")
    assert {row["name"] for row in box.get("/api/box/ssh-keys").json()["items"]} == {"cid", "owner"}


def test_the_script_is_fetched_without_using_the_token_up(fleet: Fleet, made: dict[str, Any]) -> None:
    """Nobody on the way keeps it; what it is given is quoted for the shell."""
    token = made["setup"]["token"]
    answers = [fleet.people.anonymous.get(SCRIPT, params={"token": token}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].headers["content-type"].startswith("text/x-shellscript")
    assert answers[0].headers["cache-control"] == "no-store"
    assert answers[0].text.startswith("#!/bin/sh\n")
    assert f"\ntoken={token}\n" in answers[0].text
    assert fleet.enrol(made["setup"]).get(ME).status_code == 200


@pytest.mark.settings(public_url="https://fleet.example/a'b")
def test_addresses_are_quoted_for_the_shell(fleet: Fleet, made: dict[str, Any]) -> None:
    """An operator's odd address must not become a command."""
    assert made["setup"]["command"].startswith(
        "curl -fsSL 'https://fleet.example/a'\"'\"'b/api/box/install-stout?token="
    )
    script = fleet.people.anonymous.get(SCRIPT, params={"token": made["setup"]["token"]}).text
    assert "\nurl='https://fleet.example/a'\"'\"'b'\n" in script
