"""Jobs on boxes as people ask for them: who may, what is refused, how they are found, called off and run again.

Exercises `create_job`, `list_jobs`, `get_job`, `cancel_job`, `rerun_job` and `fetch_job_file`.
"""

from __future__ import annotations

import base64
import uuid
from datetime import timedelta

import pytest
from sqlalchemy import select

from models.audit import AuditEntry
from models.base import now, transaction
from support.box_jobs import Bench
from support.envelopes import Refusals


def test_a_job_is_queued_with_what_was_asked(bench: Bench) -> None:
    """The answer is the job, and its address leads to it."""
    body = {"boxId": bench.box.uid, "command": "supply psu1 voltage 3.3", "args": ["--quiet"], "timeoutSeconds": 60}
    made = bench.ada.post(bench.jobs, json=body)
    assert made.status_code == 201
    job = made.json()
    assert (job["status"], job["command"], job["args"], job["timeoutSeconds"]) == ("queued", *list(body.values())[1:])
    assert job["boxId"] == bench.box.uid
    assert bench.ada.get(made.headers["location"]).json() == job
    assert "exitCode" not in job


def test_what_was_not_said_has_the_documented_value(bench: Bench) -> None:
    """An hour, no lock, nothing required."""
    job = bench.submit()
    assert (job["timeoutSeconds"], job["resourceLock"], job["requiredCapabilities"], job["envNames"]) == (
        3600,
        False,
        [],
        [],
    )


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"command": "true"}, ["body", "boxId"], "Required"),
        (
            {"boxId": str(uuid.uuid4()), "boxGroupId": str(uuid.uuid4()), "command": "true"},
            ["body"],
            "Invalid input",
        ),
        ({"boxId": str(uuid.uuid4())}, ["body", "command"], "Required"),
        ({"boxId": str(uuid.uuid4()), "command": "true", "script": "1"}, ["body"], "Invalid input"),
        ({"boxId": "x", "command": "true"}, ["body", "boxId"], "Invalid uuid"),
        (
            {"boxId": str(uuid.uuid4()), "command": "true", "timeoutSeconds": 86401},
            ["body", "timeoutSeconds"],
            "Number must be less than or equal to 86400",
        ),
    ],
)
def test_half_a_job_is_refused_with_its_field(
    bench: Bench, refused: Refusals, fields: dict[str, object], path: list[str], message: str
) -> None:
    """One target, one program, sane bounds: the issue says which is wrong."""
    body = refused(bench.owner.post(bench.jobs, json=fields), 400)
    assert {"path": path, "message": message} in body["issues"]


@pytest.mark.parametrize("path", ["../etc/passwd", "/etc/passwd", "a/../b", ".ssh/config", "a//b"])
def test_a_file_never_leaves_the_folder_of_its_job(bench: Bench, refused: Refusals, path: str) -> None:
    """The box writes it where this says."""
    body = {"boxId": bench.box.uid, "command": "true", "files": [{"path": path, "contentBase64": ""}]}
    refused(bench.owner.post(bench.jobs, json=body), 400)


def test_a_file_is_brought_once_and_whole(bench: Bench, refused: Refusals) -> None:
    """The same path twice would leave open which is meant; what is no base64 is nothing."""
    file = {"path": "a.txt", "contentBase64": "aGk="}
    twice = {"boxId": bench.box.uid, "command": "true", "files": [file, file]}
    broken = {"boxId": bench.box.uid, "command": "true", "files": [file | {"contentBase64": "aGk"}]}
    assert refused(bench.owner.post(bench.jobs, json=twice), 400)["issues"][0]["path"] == ["body", "files", 1, "path"]
    assert refused(bench.owner.post(bench.jobs, json=broken), 400)["issues"][0]["path"][-1] == "contentBase64"


def test_a_script_becomes_a_file_and_a_command(bench: Bench) -> None:
    """The box fetches it by an address that needs no credential, with every other file."""
    extra = {"path": "data/a.bin", "contentBase64": base64.b64encode(b"\x00\xff").decode()}
    job = bench.submit(script="print(1)", scriptName="probe.py", files=[extra])
    assert (job["command"], job["scriptName"]) == ("python probe.py", "probe.py")
    files = {f["path"]: f["url"] for f in bench.claim().json()["files"]}
    assert {path: bench.client.anonymous.get(url).content for path, url in files.items()} == {
        "probe.py": b"print(1)",
        "data/a.bin": b"\x00\xff",
    }


def test_a_file_of_a_job_needs_its_own_signature(bench: Bench, refused: Refusals) -> None:
    """An address for one file opens no other, and none for ever."""
    bench.submit(script="print(1)", files=[{"path": "b", "contentBase64": ""}])
    first, second = (f["url"] for f in bench.claim().json()["files"])
    crossed = first.partition("?")[0] + "?" + second.partition("?")[2]
    refused(bench.client.anonymous.get(crossed), 403)
    refused(bench.client.anonymous.get(first.replace("expires=", "expires=9")), 403)


def test_the_environment_is_shown_to_the_box_alone(bench: Bench) -> None:
    """People see the names; the database has the values sealed."""
    job = bench.submit(env={"TOKEN": "very-secret-value", "A": ""})
    assert job["envNames"] == ["A", "TOKEN"]
    assert "very-secret-value" not in str([bench.look(job["id"]), bench.owner.get(bench.jobs).json()])
    sealed = bench.row(job["id"]).sealed_env
    assert sealed
    assert "very-secret-value" not in sealed
    assert bench.claim().json()["env"] == {"TOKEN": "very-secret-value", "A": ""}


def test_a_member_needs_access_to_the_box(bench: Bench, refused: Refusals) -> None:
    """Ungranted 403, then 201 once granted; another org's box does not exist."""
    body = {"boxId": bench.box.uid, "command": "true"}
    refused(bench.bob.post(bench.jobs, json=body), 403)
    job = bench.submit()
    refused(bench.bob.get(f"{bench.jobs}/{job['id']}"), 403)
    assert bench.bob.get(bench.jobs).json()["total"] == 0
    bench.grant("bob", bench.box)
    assert bench.bob.post(bench.jobs, json=body).status_code == 201
    assert bench.bob.get(bench.jobs).json()["total"] == 2
    refused(bench.owner.post(bench.jobs, json=body | {"boxId": str(uuid.uuid4())}), 404)


def test_a_member_needs_the_group_to_be_granted(bench: Bench, refused: Refusals) -> None:
    """Access to one box of it is not access to whichever is free."""
    group = bench.add_group(bench.box)
    body = {"boxGroupId": group.uid, "command": "true"}
    refused(bench.ada.post(bench.jobs, json=body), 403)
    bench.grant("ada", group=group)
    assert bench.ada.post(bench.jobs, json=body).json()["boxGroupId"] == group.uid
    refused(bench.owner.post(bench.jobs, json=body | {"boxGroupId": str(uuid.uuid4())}), 404)


def test_a_missing_net_is_said_before_anything_waits(bench: Bench, refused: Refusals) -> None:
    """409 with what is missing; what is there may be a net's name, its type, or what the box reports."""
    box, _ = bench.add_box("bench-2", "psu1", capabilities={"netCommand": True, "bleCommand": False})
    wanted = {"boxId": box.uid, "command": "true", "requiredCapabilities": ["psu1", "PowerSupply", "netCommand"]}
    assert bench.owner.post(bench.jobs, json=wanted).status_code == 201
    lacking = wanted | {"requiredCapabilities": ["psu1", "psu2", "bleCommand"]}
    body = refused(bench.owner.post(bench.jobs, json=lacking), 409)
    assert (body["field"], body["missing"]) == ("requiredCapabilities", ["psu2", "bleCommand"])


def test_a_group_serves_if_one_of_its_boxes_does(bench: Bench, refused: Refusals) -> None:
    """And that box alone gets the job."""
    other, key = bench.add_box("bench-2", "psu1")
    group = bench.add_group(bench.box, other)
    job = bench.submit(boxGroupId=group.uid, requiredCapabilities=["psu1"])
    refused(
        bench.owner.post(bench.jobs, json={"boxGroupId": group.uid, "command": "x", "requiredCapabilities": ["?"]}), 409
    )
    assert bench.claim().status_code == 204
    assert bench.claim(bench.agent_of(key)).json()["jobId"] == job["id"]
    assert bench.look(job["id"])["boxId"] == other.uid


def test_a_busy_offline_or_locked_box_is_no_error(bench: Bench) -> None:
    """The job waits."""
    offline, _ = bench.add_box("cellar", status="offline")
    locked, _ = bench.add_box("locked", lock_user="carol", lock_holder_type="user", locked_at=now())
    assert {bench.submit(boxId=box.uid)["status"] for box in (offline, locked)} == {"queued"}


def test_jobs_are_found_by_state_box_person_and_time(bench: Bench) -> None:
    """Each filter narrows, and `total` counts what is left."""
    other, _ = bench.add_box("bench-2")
    first, second = bench.submit(bench.ada), bench.submit(boxId=other.uid)
    bench.owner.post(f"{bench.jobs}/{second['id']}/cancel")

    def found(**params: object) -> list[str]:
        answer = bench.owner.get(bench.jobs, params=params).json()
        assert answer["total"] == len(answer["items"])
        return [job["id"] for job in answer["items"]]

    assert found() == [second["id"], first["id"]]
    assert found(status="queued") == [first["id"]]
    assert found(status=["queued", "cancelled"]) == [second["id"], first["id"]]
    assert found(boxId=other.uid) == [second["id"]]
    assert found(createdById=first["createdById"]) == [first["id"]]
    moment = (now() + timedelta(hours=1)).isoformat()
    assert (found(since=moment), found(until=moment)) == ([], [second["id"], first["id"]])
    assert len(bench.owner.get(bench.jobs, params={"limit": 1, "page": 2}).json()["items"]) == 1


def test_only_states_can_be_asked_for(bench: Bench, refused: Refusals) -> None:
    """A misspelt filter would look like an empty list."""
    refused(bench.owner.get(bench.jobs, params={"status": "done"}), 400)


def test_a_job_is_cancelled_by_its_creator_or_an_admin(bench: Bench, refused: Refusals) -> None:
    """At once, with the reason; another member may look, not touch."""
    bench.grant("bob", bench.box)
    mine, other = bench.submit(bench.ada), bench.submit(bench.ada)
    refused(bench.bob.post(f"{bench.jobs}/{mine['id']}/cancel"), 403)
    cancelled = bench.ada.post(f"{bench.jobs}/{mine['id']}/cancel", json={"reason": "Wrong board"}).json()
    assert (cancelled["status"], cancelled["cancelReason"]) == ("cancelled", "Wrong board")
    assert cancelled["finishedAt"]
    assert bench.admin.post(f"{bench.jobs}/{other['id']}/cancel").json()["status"] == "cancelled"


def test_a_finished_job_cannot_be_cancelled(bench: Bench, refused: Refusals) -> None:
    """It keeps its result."""
    job_id = bench.running()
    bench.tell(job_id, "result", exitCode=0)
    body = refused(bench.owner.post(f"{bench.jobs}/{job_id}/cancel"), 409)
    assert body["status"] == "completed"
    assert bench.look(job_id)["status"] == "completed"


def test_a_job_runs_once_more_as_it_was(bench: Bench) -> None:
    """Command, files, environment and needs; the new one points to the first."""
    first = bench.submit(script="print(1)", env={"A": "b"}, timeoutSeconds=9, args=["x"], resourceLock=True)
    given = bench.claim().json()
    bench.tell(first["id"], "ack")
    bench.tell(first["id"], "result", exitCode=1)
    again = bench.ada.post(f"{bench.jobs}/{first['id']}/rerun")
    assert again.status_code == 201
    assert again.json()["rerunOfJobId"] == first["id"]
    second = bench.claim().json()
    same = ("command", "args", "timeoutSeconds", "env", "resourceLock")
    assert {name: second[name] for name in same} == {name: given[name] for name in same}
    assert bench.client.anonymous.get(second["files"][0]["url"]).content == b"print(1)"
    assert second["jobId"] == again.json()["id"] != first["id"]


def test_a_job_of_another_org_does_not_exist(bench: Bench, refused: Refusals) -> None:
    """404 on everything below it."""
    unknown = f"{bench.jobs}/{uuid.uuid4()}"
    for path in ("", "/logs", "/artifacts", f"/artifacts/{uuid.uuid4()}", f"/artifacts/{uuid.uuid4()}/download"):
        refused(bench.owner.get(unknown + path), 404)
    for path in ("/cancel", "/rerun"):
        refused(bench.owner.post(unknown + path), 404)


def test_submitting_and_cancelling_are_written_down(bench: Bench) -> None:
    """With who did it and in which org."""
    job = bench.submit(bench.ada)
    bench.ada.post(f"{bench.jobs}/{job['id']}/cancel")
    with transaction(bench.engine, write=False) as session:
        rows = session.scalars(
            select(AuditEntry).where(AuditEntry.resource_type == "job").order_by(AuditEntry.id)
        ).all()
    assert [(r.action, r.resource_id, r.org_id, r.actor_email) for r in rows] == [
        ("job.submit", job["id"], bench.org.id, "ada@example.com"),
        ("job.cancel", job["id"], bench.org.id, "ada@example.com"),
    ]
