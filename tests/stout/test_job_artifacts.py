"""Files that jobs make: announced, sent past the API onto the disk, confirmed by hash, fetched by those who may.

Exercises `announce_artifact`, `send_artifact`, `confirm_artifact`, `list_job_artifacts`, `get_job_artifact`,
`download_job_artifact` and `fetch_artifact`.
"""

from __future__ import annotations

import hashlib
import os
import tracemalloc
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import delete, select

from app.security.presigned import Given, permits, presign
from app.security.secrets import load_or_create
from app.services.box_jobs.files import store_of
from app.services.box_jobs.overseer import Overseer
from app.services.storage import LARGEST, LocalStore, TooLargeError
from models.base import now, transaction
from models.box_jobs import Artifact
from models.orgs import Membership
from support.box_jobs import Bench, Remote
from support.envelopes import Refusals

CONTENT = b"<testsuite/>\n"
MEGABYTE = 1024 * 1024


def uploaded(bench: Bench, job_id: str, name: str = "report.xml", content: bytes = CONTENT) -> dict[str, Any]:
    """An artifact that is there."""
    upload = bench.announce(job_id, name)
    assert bench.send(upload, content).status_code == 200
    answer = bench.confirm(job_id, upload, content)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def path_of(bench: Bench, job_id: str, artifact: dict[str, Any]) -> str:
    """Where people see an artifact."""
    return f"{bench.jobs}/{job_id}/artifacts/{artifact['id']}"


def test_a_file_goes_from_the_box_to_people(bench: Bench) -> None:
    """Announced, sent, confirmed, listed, fetched: the same bytes under the same name."""
    job_id = bench.running()
    upload = bench.announce(job_id, "out/report.xml", contentType="application/xml", sizeBytes=len(CONTENT))
    assert (upload["method"], upload["artifact"]["uploadState"]) == ("PUT", "pending")
    assert bench.send(upload, CONTENT).json() == {"sizeBytes": len(CONTENT)}
    bench.tell(job_id, "status", status="uploading_artifacts")
    artifact = bench.confirm(job_id, upload, CONTENT).json()
    told = (artifact["uploadState"], artifact["sizeBytes"], artifact["checksum"], artifact["contentType"])
    assert told == ("uploaded", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), "application/xml")
    assert bench.ada.get(f"{bench.jobs}/{job_id}/artifacts").json()["items"] == [artifact]
    assert bench.ada.get(path_of(bench, job_id, artifact)).json() == artifact
    assert bench.look(job_id)["artifactCount"] == 1
    led = bench.ada.get(path_of(bench, job_id, artifact) + "/download")
    assert led.status_code == 302
    fetched = bench.client.anonymous.get(led.headers["location"])
    assert (fetched.content, fetched.headers["content-type"]) == (CONTENT, "application/xml")
    assert fetched.headers["content-disposition"] == "attachment; filename*=UTF-8''report.xml"
    assert "sandbox" in fetched.headers["content-security-policy"]
    assert fetched.headers["etag"] == f'"{artifact["checksum"]}"'


def test_the_address_may_be_asked_for_as_json(bench: Bench) -> None:
    """For clients that do not follow redirects."""
    job_id = bench.running()
    artifact = uploaded(bench, job_id)
    told = bench.owner.get(path_of(bench, job_id, artifact) + "/download", params={"redirect": "false"}).json()
    assert bench.client.anonymous.get(told["url"]).content == CONTENT
    assert told["expiresAt"] > artifact["createdAt"]


def test_another_hash_is_refused(bench: Bench, refused: Refusals) -> None:
    """409, the file is gone and the artifact failed; sent again it may yet be uploaded."""
    job_id = bench.running()
    upload = bench.announce(job_id)
    bench.send(upload, b"somethinglse")
    body = refused(bench.confirm(job_id, upload, CONTENT), 409)
    assert body["message"] == "Checksum mismatch"
    [artifact] = bench.owner.get(f"{bench.jobs}/{job_id}/artifacts", params={"uploadState": "failed"}).json()["items"]
    refused(bench.owner.get(path_of(bench, job_id, artifact) + "/download"), 409)
    again = bench.announce(job_id)
    assert again["artifact"]["id"] == artifact["id"]
    bench.send(again, CONTENT)
    assert bench.confirm(job_id, again, CONTENT).json()["uploadState"] == "uploaded"
    assert bench.look(job_id)["artifactCount"] == 1


def test_what_was_announced_binds(bench: Bench, refused: Refusals) -> None:
    """Size and hash told beforehand are held against what comes."""
    job_id = bench.running()
    upload = bench.announce(job_id, sizeBytes=1)
    bench.send(upload, CONTENT)
    refused(bench.confirm(job_id, upload, CONTENT), 409)
    upload = bench.announce(job_id, sha256="0" * 64)
    bench.send(upload, CONTENT)
    refused(bench.confirm(job_id, upload, CONTENT), 409)


def test_nothing_sent_is_nothing_confirmed(bench: Bench, refused: Refusals) -> None:
    """The empty file is one that was sent too."""
    job_id = bench.running()
    upload = bench.announce(job_id)
    refused(bench.confirm(job_id, upload, b""), 409)
    bench.send(upload, b"")
    assert bench.confirm(job_id, upload, b"").json()["sizeBytes"] == 0


def test_confirming_may_be_repeated_and_freezes_the_file(bench: Bench, refused: Refusals) -> None:
    """The address to send to is good for a while longer, but the file never changes again."""
    job_id = bench.running()
    upload = bench.announce(job_id)
    bench.send(upload, CONTENT)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: bench.confirm(job_id, upload, CONTENT).status_code, range(8)))
    assert set(answers) <= {200, 409}
    assert bench.confirm(job_id, upload, CONTENT).status_code == 200
    refused(bench.confirm(job_id, upload, b"another"), 409)
    refused(bench.send(upload, b"another"), 409)
    refused(bench.tell(job_id, "artifacts", name="report.txt"), 409)
    url = bench.owner.get(path_of(bench, job_id, upload["artifact"]) + "/download").headers["location"]
    assert bench.client.anonymous.get(url).content == CONTENT
    assert bench.look(job_id)["artifactCount"] == 1


def test_files_are_for_jobs_at_work(bench: Bench, refused: Refusals) -> None:
    """Neither before the box began nor after the end."""
    job = bench.submit()
    bench.claim()
    refused(bench.tell(job["id"], "artifacts", name="early"), 409)
    bench.tell(job["id"], "ack")
    upload = bench.announce(job["id"])
    bench.tell(job["id"], "result", exitCode=0)
    refused(bench.send(upload, CONTENT), 409)
    refused(bench.confirm(job["id"], upload, CONTENT), 409)
    refused(bench.tell(job["id"], "artifacts", name="late"), 409)


def test_a_file_that_never_came_is_given_up(bench: Bench) -> None:
    """Once its job is over and its addresses have run out; nothing of it stays on the disk."""
    job_id = bench.running()
    upload = bench.announce(job_id)
    bench.send(upload, CONTENT)
    bench.tell(job_id, "result", exitCode=0)
    runtime = bench.client.application.runtime
    overseer = Overseer(runtime, store_of(runtime))
    overseer.look(now())
    assert [p for p in (runtime.settings.data / "artifacts").rglob("*") if p.is_file()]
    overseer.look(now() + timedelta(minutes=16))
    assert not [p for p in (runtime.settings.data / "artifacts").rglob("*") if p.is_file()]
    assert bench.owner.get(path_of(bench, job_id, upload["artifact"])).json()["uploadState"] == "failed"


def test_an_announcement_beyond_the_limit_is_refused(bench: Bench, refused: Refusals) -> None:
    """100 MB, told before a byte is sent."""
    job_id = bench.running()
    refused(bench.tell(job_id, "artifacts", name="a", sizeBytes=LARGEST + 1), 413)
    assert bench.tell(job_id, "artifacts", name="a", sizeBytes=LARGEST).status_code == 201


def test_an_address_is_good_for_one_thing_only(bench: Bench, refused: Refusals) -> None:
    """Not for another file, another method, a longer time, or with a signature that is merely plausible."""
    job_id = bench.running()
    first, second = bench.announce(job_id, "a"), bench.announce(job_id, "b")
    there, query = first["uploadUrl"].split("?")
    other = second["uploadUrl"].split("?")[0]
    put = bench.client.anonymous.put
    refused(put(f"{other}?{query}", content=b"x"), 403)
    refused(put(f"{there}?{query.replace('expires=', 'expires=9')}", content=b"x"), 403)
    refused(put(f"{there}?{query[:-1]}{'0' if query[-1] != '0' else '1'}", content=b"x"), 403)
    refused(put(f"{there}?{query.replace('key=', 'key=no')}", content=b"x"), 403)
    refused(put(there, content=b"x"), 400)
    refused(bench.client.anonymous.get(first["uploadUrl"]), 403)
    refused(put(first["uploadUrl"], content=b"x", headers={"content-type": "text/html"}), 415)
    assert put(first["uploadUrl"], content=b"x").status_code == 200


def test_an_address_runs_out(tmp_path: Path) -> None:
    """To the second; a key that signs no more still admits what it signed."""
    secrets = load_or_create(tmp_path)
    until = now().replace(microsecond=0) + timedelta(seconds=60)
    query = dict(part.split("=") for part in presign("PUT", "/x", until, secrets).partition("?")[2].split("&"))
    given = Given(int(query["expires"]), query["key"], query["signature"])
    assert permits("PUT", "/x", given, until - timedelta(seconds=1), secrets)
    assert not permits("PUT", "/x", given, until, secrets)
    assert not permits("GET", "/x", given, now(), secrets)
    assert not permits("PUT", "/y", given, now(), secrets)


def test_artifacts_are_for_those_who_may_see_the_job(bench: Bench, refused: Refusals) -> None:
    """And an artifact of another job is none of this one's."""
    job_id = bench.running()
    artifact = uploaded(bench, job_id)
    for tail in ("", "/download"):
        refused(bench.bob.get(path_of(bench, job_id, artifact) + tail), 403)
    refused(bench.bob.get(f"{bench.jobs}/{job_id}/artifacts"), 403)
    other = bench.submit()["id"]
    refused(bench.owner.get(f"{bench.jobs}/{other}/artifacts/{artifact['id']}"), 404)
    refused(bench.owner.get(f"{bench.jobs}/{job_id}/artifacts/{uuid.uuid4()}"), 404)


@pytest.mark.parametrize("name", ["../x", "/x", "a/../x", ".hidden", "a//b", "a\\..\\b:", ""])
def test_a_name_leads_nowhere_else(bench: Bench, refused: Refusals, name: str) -> None:
    """Whoever saves it under its name stays in their folder."""
    refused(bench.tell(bench.running(), "artifacts", name=name), 400)


def test_a_file_whose_row_is_there_but_whose_bytes_are_not_is_missing(bench: Bench, refused: Refusals) -> None:
    """A restored backup of the database alone must not end in a fault."""
    job_id = bench.running()
    artifact = uploaded(bench, job_id)
    url = bench.owner.get(path_of(bench, job_id, artifact) + "/download").headers["location"]
    with transaction(bench.engine, write=False) as session:
        key = session.scalars(select(Artifact.storage_key)).one()
    (bench.client.application.runtime.settings.data / "artifacts" / "kept" / key).unlink()
    refused(bench.client.anonymous.get(url), 404)


async def pieces(count: int, size: int = MEGABYTE) -> AsyncIterator[bytes]:
    """So many pieces of a body."""
    for _ in range(count):
        yield os.urandom(64) * (size // 64)


async def test_a_large_file_is_never_in_memory(tmp_path: Path) -> None:
    """Sixty megabytes go by in a few."""
    store = LocalStore(tmp_path, "http://127.0.0.1", load_or_create(tmp_path))
    tracemalloc.start()
    assert await store.receive("job/a", pieces(60)) == 60 * MEGABYTE
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * MEGABYTE


async def test_too_large_a_file_leaves_nothing(tmp_path: Path) -> None:
    """Refused at the byte too many, not after the rest."""
    store = LocalStore(tmp_path / "store", "http://127.0.0.1", load_or_create(tmp_path))
    with pytest.raises(TooLargeError):
        await store.receive("job/a", pieces(1000))
    assert not [p for p in (tmp_path / "store").rglob("*") if p.is_file()]


def test_too_large_a_body_is_refused_over_the_wire(serve: Any) -> None:
    """413 for a body that announces it, and for one that does not say how much comes."""
    remote = Remote(server := serve(rate_limits="off"))
    bench = Bench(remote)
    upload = bench.announce(bench.running())
    assert upload["uploadUrl"].startswith(server.base_url)
    unsaid = (b"x" * MEGABYTE for _ in range(102))
    try:
        status = requests.put(upload["uploadUrl"], data=unsaid, timeout=60).status_code
    except requests.ConnectionError:  # it may hang up on what it does not want to read
        status = 413
    assert status == 413
    whole = b"y" * (20 * MEGABYTE)
    assert requests.put(upload["uploadUrl"], data=whole, timeout=60).json() == {"sizeBytes": len(whole)}
    assert not list((server.data / "artifacts").rglob("*.part"))
    remote.close()


def test_the_files_go_with_their_org(bench: Bench) -> None:
    """Whoever deletes an org deletes what its jobs left on the disk."""
    uploaded(bench, bench.running())
    runtime = bench.client.application.runtime
    kept = runtime.settings.data / "artifacts" / "kept"
    assert [f.read_bytes() for f in kept.rglob("*") if f.is_file()] == [CONTENT]
    with transaction(runtime.engine) as session:  # an org with other members is not deleted
        others = Membership.role != "owner"
        session.execute(delete(Membership).where(others))
    assert bench.owner.delete(bench.jobs.rpartition("/")[0]).status_code == 204
    assert [f for f in kept.rglob("*") if f.is_file()] == []
