"""Jobs on boxes as people see them: submitted, listed, called off, followed, and the files they made."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import selectinload

from app.http import Answer, caller, created, page
from app.problems import conflict, forbidden
from app.runtime import Runtime, runtime
from app.security.presigned import Given
from app.security.principals import Principal
from app.services import audit
from app.services.box_access import org_of
from app.services.box_jobs import access, artifacts, files, logs, reports, submit
from app.services.box_jobs.stream import Follower
from app.services.box_jobs.watch import watch_of
from app.services.storage import content_path
from app.wire.call import Call
from app.wire.moments import moment
from app.wire.pages import Listing
from app.wire.replies import Reply
from models.base import now, transaction
from models.box_jobs import UPLOADED, Artifact, BoxJob, BoxJobLog
from models.boxes import Box
from models.identity import User
from models.views.box_jobs import ArtifactView, BoxJobView, LineView
from models.views.fields import rfc3339

Json = dict[str, Any]
STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
NOTHING_SEEN = -1
SHOWN_WITH = (BoxJob.org, BoxJob.box, BoxJob.box_group, BoxJob.created_by, BoxJob.rerun_of)

show_job = BoxJobView().dump
show_artifact = ArtifactView().dump
show_line = LineView().dump


def list_jobs(org_id: str, status: list[str] | None, since: str | None, until: str | None, **asked: Any) -> Json:
    """The org's jobs that the caller may see, newest first."""
    jobs = access.jobs_of(caller(), org_of(org_id)).options(*(selectinload(part) for part in SHOWN_WITH))
    if status:
        jobs = jobs.where(BoxJob.status.in_(status))
    if box := asked.pop("box_id"):
        jobs = jobs.where(BoxJob.box_id.in_(select(Box.id).where(Box.uid == box.lower())))
    if person := asked.pop("created_by_id"):
        jobs = jobs.where(BoxJob.created_by_id.in_(select(User.id).where(User.uid == person.lower())))
    if since:
        jobs = jobs.where(BoxJob.queued_at >= moment(since))
    if until:
        jobs = jobs.where(BoxJob.queued_at < moment(until))
    return page(Listing(jobs, "items", show_job, (BoxJob.id,)), **asked)


def create_job(org_id: str, body: Json) -> Answer:
    """Queue a job."""
    org = org_of(org_id)
    job = submit.submit(caller(), org, body, runtime().secrets)
    audit.note("job.submit", "job", job.uid, org.id, command=job.command[:200])
    return created(show_job(job), f"/api/orgs/{org.uid}/jobs/{job.uid}")


def get_job(org_id: str, job_id: str) -> Json:
    """A job."""
    shown: Json = show_job(access.find(caller(), org_id, job_id))
    return shown


def cancel_job(org_id: str, job_id: str, body: Json | None) -> Json:
    """Call a job off."""
    job = access.find(caller(), org_id, job_id)
    if not access.may_cancel(caller(), job):
        raise forbidden("A job is called off by who asked for it, or by an owner or admin of the organization")
    reports.cancel(job, (body or {}).get("reason"))
    audit.note("job.cancel", "job", job.uid, job.org_id)
    shown: Json = show_job(job)
    return shown


def rerun_job(org_id: str, job_id: str) -> Answer:
    """Queue a job like this one."""
    known = access.find(caller(), org_id, job_id)
    job = submit.rerun(caller(), known, runtime().secrets)
    audit.note("job.submit", "job", job.uid, job.org_id, rerun_of=known.uid)
    return created(show_job(job), f"/api/orgs/{job.org.uid}/jobs/{job.uid}")


def list_job_logs(org_id: str, job_id: str, after: int | None, stream: str | None, **window: Any) -> Json:
    """What a job wrote."""
    job = access.find(caller(), org_id, job_id)

    def show(line: BoxJobLog) -> Json:
        shown: Json = show_line(line)
        return {"jobId": job.uid} | shown

    found = logs.lines(job, after, stream)
    return page(Listing(found, "items", show, (BoxJobLog.sequence,), descending=False), **window)


async def stream_job_logs(
    call: Call, org_id: str, job_id: str, after: int | None, last_event_id: int | None, **_: Any
) -> Reply:
    """Follow what a job writes."""
    held = runtime()
    watch = watch_of(held)
    watch.admit()

    row = await asyncio.to_thread(_row_of, held, call.principal, org_id, job_id)
    still_allowed = partial(asyncio.to_thread, access.may_still_see, held.engine, call.principal, row)
    seen = max(NOTHING_SEEN if number is None else number for number in (after, last_event_id))
    return Reply(200, STREAM, chunks=Follower(watch, row, seen, still_allowed).events())


def _row_of(held: Runtime, principal: Principal, org_id: str, job_id: str) -> int:
    with transaction(held.engine, write=False):
        return access.find(principal, org_id, job_id).id


def list_job_artifacts(org_id: str, job_id: str, upload_state: str | None, **window: Any) -> Json:
    """The files a job made."""
    job = access.find(caller(), org_id, job_id)
    return page(Listing(artifacts.of_job(job, upload_state), "items", show_artifact, (Artifact.id,)), **window)


def get_job_artifact(org_id: str, job_id: str, artifact_id: str) -> Json:
    """A file a job made."""
    shown: Json = show_artifact(artifacts.find(access.find(caller(), org_id, job_id), artifact_id))
    return shown


def download_job_artifact(org_id: str, job_id: str, artifact_id: str, *, redirect: bool) -> Answer:
    """Where the file is."""
    artifact = artifacts.find(access.find(caller(), org_id, job_id), artifact_id)
    if artifact.state != UPLOADED:
        raise conflict("The artifact is not uploaded")
    until = now() + artifacts.FETCH_WITHIN
    url = files.store_of(runtime()).download_url(artifact.uid, until)
    if redirect:
        return Answer(None, 302, {"location": url, "cache-control": "no-store"})
    return Answer({"url": url, "expiresAt": rfc3339(until)}, headers={"cache-control": "no-store"})


async def fetch_artifact(call: Call, artifact_id: str, expires: int, key: str, signature: str) -> Reply:  # noqa: ARG001
    """The file of an artifact, block by block."""
    held = runtime()
    files.admit(held, "GET", content_path(artifact_id), Given(expires, key, signature))
    kept = await asyncio.to_thread(files.opened, held, artifact_id)
    return Reply(200, kept.headers, chunks=files.blocks(kept.file))
