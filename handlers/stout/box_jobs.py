"""Jobs as their boxes see them: claimed, acknowledged, reported line by line and file by file, ended."""

from __future__ import annotations

import asyncio
from typing import Any

from app.http import Answer, caller, transact
from app.problems import Problem, conflict
from app.runtime import runtime
from app.security.presigned import Given
from app.services.box_jobs import artifacts, claims, files, logs, reports, turns
from app.services.storage import content_path
from app.wire.call import Call
from app.wire.replies import Reply, json_reply
from models.base import now
from models.box_jobs import BoxJob
from models.views.box_jobs import ArtifactView, BoxJobView
from models.views.fields import rfc3339

Json = dict[str, Any]
BINARY = "application/octet-stream"

show_job = BoxJobView().dump
show_artifact = ArtifactView().dump


async def claim_job(call: Call) -> Reply:
    """The next job, waiting for one as long as told."""
    asked = call.body or {}
    running = str(asked.get("runningJobId", "")).lower()
    turn = await turns.Turn(runtime(), call.principal.box, running).take(asked.get("waitSeconds", 0), call.receive)
    if turn.execution is not None:
        return json_reply(turn.execution)
    return Reply(204, [(b"x-job-over", turn.over.encode())] if turn.over else [])


def acknowledge_job(job_id: str) -> Json:
    """The job begins."""
    job = _own(job_id)
    reports.begin(job)
    return _shown(job)


def append_job_logs(job_id: str, body: Json) -> Json:
    """Store what is new of these lines."""
    job = _own(job_id)
    accepted = logs.append(job, body["chunks"])
    return {"accepted": accepted, "lastSequenceNum": job.last_sequence}


def report_job_status(job_id: str, body: Json) -> Json:
    """Where the box is with the job."""
    job = _own(job_id)
    reports.progress(job, body["status"])
    return _shown(job)


def report_job_result(job_id: str, body: Json) -> Json:
    """How the job ended."""
    job = _own(job_id)
    reports.end(job, body["exitCode"], body.get("failureReason"))
    return _shown(job)


def announce_artifact(job_id: str, body: Json) -> Answer:
    """Where the box may send a file."""
    artifact = artifacts.announce(_own(job_id), body)
    until = now() + artifacts.SEND_WITHIN
    target = files.store_of(runtime()).upload_target(artifact.uid, until)
    sent = {"uploadUrl": target.url, "method": target.method, "headers": dict(target.headers)}
    return Answer({"artifact": show_artifact(artifact), **sent, "expiresAt": rfc3339(until)}, 201)


def confirm_artifact(job_id: str, artifact_id: str, body: Json) -> Json:
    """Keep what was sent, if it is what the box meant; no transaction waits while the file is read."""
    size, checksum = body["sizeBytes"], body["sha256"].lower()
    with transact(write=False):
        artifact = artifacts.find(_own(job_id), artifact_id)
        awaited = artifacts.awaits(artifact, size, checksum)
    kept = awaited and files.store_of(runtime()).keep(artifact.storage_key, size, checksum)
    with transact():
        artifact = artifacts.find(_own(job_id), artifact_id, hold=True)
        uploaded = artifacts.settle(artifact, size, checksum, kept=kept)
        shown: Json = show_artifact(artifact)
    if not uploaded:
        raise conflict("Checksum mismatch", field="sha256")
    return shown


async def send_artifact(call: Call, artifact_id: str, expires: int, key: str, signature: str) -> Reply:
    """Take the file of an artifact in pieces, onto the disk."""
    held = runtime()
    files.admit(held, "PUT", content_path(artifact_id), Given(expires, key, signature))
    if call.headers.get("content-type", BINARY).partition(";")[0].strip().lower() != BINARY:
        raise Problem(415, f"Send the file as {BINARY}", headers={"accept": BINARY})
    if call.receive is None:
        raise Problem(400, "There is no body")
    return json_reply({"sizeBytes": await files.receive(held, artifact_id, call.receive)})


async def fetch_job_file(call: Call, file_id: str, expires: int, key: str, signature: str) -> Reply:  # noqa: ARG001
    """A file that a job brings along."""
    held = runtime()
    files.admit(held, "GET", claims.file_path(file_id), Given(expires, key, signature))
    content, headers = await asyncio.to_thread(files.brought, held, file_id)
    return Reply(200, headers, content)


def _own(job_id: str) -> BoxJob:
    return claims.own(caller().box, job_id)


def _shown(job: BoxJob) -> Json:
    shown: Json = show_job(job)
    return shown
