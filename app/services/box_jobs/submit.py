"""Submitting jobs: for a box or a group of boxes that the caller may use and that has what the job needs."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Collection, Sequence
from typing import Any

import orjson
from sqlalchemy import select

from app.problems import Issue, conflict, forbidden, invalid, not_found
from app.security.principals import Principal
from app.security.sealing import seal, unseal
from app.security.secrets import Secrets
from app.services import box_access
from app.services.box_jobs import access, news
from app.services.box_jobs.states import QUEUED
from models.base import new_uid, session
from models.box_jobs import BoxJob, BoxJobFile
from models.boxes import Box, BoxGroup, BoxGroupBox, Device
from models.orgs import Org

Json = dict[str, Any]
SCRIPT_NAME = "job.py"


def submit(principal: Principal, org: Org, body: Json, secrets: Secrets) -> BoxJob:
    """A queued job; Problem 400, 403, 404, or 409 when no box it may run on has what it requires."""
    job = BoxJob(uid=new_uid(), org_id=org.id, created_by_id=principal.user_id, status=QUEUED)
    _aim(job, principal, org, body)
    files = _files(body)
    job.command = body.get("command") or f"python {_script_name(body)}"
    job.script_name = _script_name(body) if "script" in body else None
    job.args, job.timeout_s = body.get("args", []), body.get("timeoutSeconds", 3600)
    job.resource_lock = body.get("resourceLock", False)
    job.required_capabilities = list(dict.fromkeys(body.get("requiredCapabilities", [])))
    refuse_unsuitable(job)
    _seal_env(job, body.get("env", {}), secrets)
    return _queue(job, files)


def rerun(principal: Principal, known: BoxJob, secrets: Secrets) -> BoxJob:
    """The same job once more, for the same box or group. Problem 403, 404 or 409 as for a new one."""
    job = BoxJob(uid=new_uid(), org_id=known.org_id, created_by_id=principal.user_id, status=QUEUED)
    job.rerun_of_id = known.id
    job.box_group_id = known.box_group_id
    job.box_id = None if known.box_group_id else known.box_id
    if job.box_id is None and job.box_group_id is None:
        raise conflict("The box of this job is gone")
    if known.box_group and not access.may_use_group(principal, known.box_group, known.org):
        raise forbidden("You have no access to the group of boxes of this job")
    for name in ("command", "args", "script_name", "timeout_s", "resource_lock", "required_capabilities"):
        setattr(job, name, getattr(known, name))
    refuse_unsuitable(job)
    _seal_env(job, env_of(known, secrets), secrets)
    kept = session().execute(select(BoxJobFile.path, BoxJobFile.content).where(BoxJobFile.job_id == known.id))
    return _queue(job, dict(kept.all()))


def env_of(job: BoxJob, secrets: Secrets) -> dict[str, str]:
    """The job's environment, opened."""
    return orjson.loads(unseal(job.sealed_env, owner_of(job.uid), secrets)) if job.sealed_env else {}


def owner_of(job_uid: str) -> str:
    """What binds a sealed environment to its job."""
    return f"box_job:{job_uid}"


def _aim(job: BoxJob, principal: Principal, org: Org, body: Json) -> None:
    if "boxId" in body:
        job.box_id = box_access.usable(org.uid, body["boxId"], principal).id
        return
    mine = select(BoxGroup).where(BoxGroup.uid == body["boxGroupId"].lower(), BoxGroup.org_id == org.id)
    group = session().scalar(mine)
    if group is None:
        raise not_found("Box group")
    if not access.may_use_group(principal, group, org):
        raise forbidden("You have no access to this group of boxes; ask an admin of the organization for it")
    job.box_group_id = group.id


def refuse_unsuitable(job: BoxJob) -> None:
    """A 409 Problem that names what is missing, unless a box the job may run on has all it requires."""
    boxes = candidates(job)
    lacking = [missing(job.required_capabilities, offered(box)) for box in boxes]
    if not boxes:
        raise conflict("There is no box in this group", field="boxGroupId")
    fewest = min(lacking, key=len)
    if fewest:
        where = "The box lacks" if job.box_id else "No box of the group has all of it; the nearest lacks"
        raise conflict(f"{where} {', '.join(fewest)}"[:2000], field="requiredCapabilities", missing=fewest)


def candidates(job: BoxJob) -> Sequence[Box]:
    """The boxes a job may run on."""
    if job.box_id is not None:
        return session().scalars(select(Box).where(Box.id == job.box_id)).all()
    members = select(Box).join(BoxGroupBox, BoxGroupBox.box_id == Box.id)
    return session().scalars(members.where(BoxGroupBox.group_id == job.box_group_id)).all()


def offered(box: Box) -> frozenset[str]:
    """What a box has: the names and types of its nets, and the capabilities it reports."""
    nets = select(Device.net_name, Device.type).where(Device.box_id == box.id, Device.present)
    told = {name for name, value in box.capabilities.items() if value}
    return frozenset(told).union(*(row for row in session().execute(nets)))


def missing(required: Collection[str], has: Collection[str]) -> list[str]:
    """What is required and not there, in the order it was asked for."""
    return [name for name in required if name not in has]


def _script_name(body: Json) -> str:
    return str(body.get("scriptName", SCRIPT_NAME))


def _files(body: Json) -> dict[str, bytes]:
    """The files by their paths, the script among them; Problem 400 for a path twice or what is no base64."""
    files: dict[str, bytes] = {_script_name(body): body["script"].encode()} if "script" in body else {}
    for number, file in enumerate(body.get("files", [])):
        if file["path"] in files:
            raise invalid(Issue(("body", "files", number, "path"), "repeated"))
        try:
            files[file["path"]] = b64decode(file["contentBase64"], validate=True)
        except NotBase64:
            raise invalid(Issue(("body", "files", number, "contentBase64"), "format", "base64")) from None
    return files


def _seal_env(job: BoxJob, env: dict[str, str], secrets: Secrets) -> None:
    job.env_names = sorted(env)
    job.sealed_env = seal(orjson.dumps(env).decode(), owner_of(job.uid), secrets) if env else None


def _queue(job: BoxJob, files: dict[str, bytes]) -> BoxJob:
    session().add(job)
    session().flush()
    session().add_all([BoxJobFile(job_id=job.id, path=path, content=content) for path, content in files.items()])
    session().flush()
    news.ring()
    return job
