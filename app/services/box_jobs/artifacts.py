"""Files a job made: announced by the box, sent straight to the store, confirmed by size and SHA-256."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, select, update
from sqlalchemy.exc import IntegrityError

from app.problems import Problem, conflict, not_found
from app.services.box_jobs import moves, states
from app.services.storage import LARGEST, ArtifactStore
from models.base import new_uid, now, session
from models.box_jobs import PENDING, REJECTED, UPLOADED, Artifact, BoxJob

SEND_WITHIN = timedelta(minutes=15)
FETCH_WITHIN = timedelta(minutes=15)
ANY_TYPE = "application/octet-stream"
SENDING = (states.RUNNING, states.UPLOADING)
MOST = 1_000
BATCH = 50


def announce(job: BoxJob, body: Mapping[str, Any]) -> Artifact:
    """An artifact to be sent; the one of the same name again while it has not come. Problem 409 or 413."""
    if job.status not in SENDING:
        raise moves.refused(job)
    if body.get("sizeBytes", 0) > LARGEST:
        raise Problem(413, f"An artifact has at most {LARGEST} bytes")
    known = _named(job, body["name"])
    if known is None:
        _refuse_too_many(job)
        known = _add(job, body["name"])
    if known.state == UPLOADED:
        raise conflict("An artifact of this name was uploaded already", field="name")
    known.state, known.updated_at = PENDING, now()
    known.content_type = body.get("contentType", ANY_TYPE)
    known.size, known.checksum = body.get("sizeBytes"), _lower(body.get("sha256"))
    session().flush()
    return known


def awaits(artifact: Artifact, size: int, checksum: str) -> bool:
    """Whether a file of this size and hash may become the artifact now; a 409 Problem when the job is over."""
    if artifact.state != UPLOADED and artifact.job.status not in SENDING:
        raise moves.refused(artifact.job)
    return artifact.state != UPLOADED and artifact.size in (None, size) and artifact.checksum in (None, checksum)


def settle(artifact: Artifact, size: int, checksum: str, *, kept: bool) -> bool:
    """Write down what came of it; whether it is uploaded as confirmed. A 409 Problem when the job ended meanwhile.

    Confirming again what is uploaded changes nothing: an answer may get lost.
    """
    if artifact.state == UPLOADED:
        return artifact.size == size and artifact.checksum == checksum
    if artifact.job.status not in SENDING:
        raise moves.refused(artifact.job)
    moment = now()
    artifact.updated_at = moment
    if not kept:
        artifact.state = REJECTED
        return False
    artifact.state, artifact.size, artifact.checksum, artifact.uploaded_at = UPLOADED, size, checksum, moment
    one_more = update(BoxJob).where(BoxJob.id == artifact.job_id).values(artifact_count=BoxJob.artifact_count + 1)
    session().execute(one_more.execution_options(synchronize_session=False))
    return True


def of_job(job: BoxJob, state: str | None = None) -> Select[Artifact]:
    """The artifacts of a job, in one state or in any."""
    found = select(Artifact).where(Artifact.job_id == job.id)
    return found if state is None else found.where(Artifact.state == state)


def find(job: BoxJob, uid: str, *, hold: bool = False) -> Artifact:
    """An artifact of the job, held until the transaction ends if wanted; a 404 Problem when there is none."""
    mine = of_job(job).where(Artifact.uid == uid.lower())
    artifact = session().scalar(mine.with_for_update(of=Artifact) if hold else mine)
    if artifact is None:
        raise not_found("Artifact")
    return artifact


def expected(uid: str) -> str | None:
    """The key that a file may be sent under now; None when no file is waited for."""
    due = select(Artifact.storage_key).join(BoxJob).where(Artifact.uid == uid.lower(), Artifact.state != UPLOADED)
    return session().scalar(due.where(BoxJob.status.in_(SENDING)))


def uploaded(uid: str) -> Artifact | None:
    """The artifact, if its file is kept."""
    return session().scalar(select(Artifact).where(Artifact.uid == uid.lower(), Artifact.state == UPLOADED))


def left_behind(moment: datetime) -> list[str]:
    """Artifacts that cannot come any more: their job is over and every address to send to has run out."""
    late = select(Artifact.uid).join(BoxJob).where(Artifact.state == PENDING, BoxJob.status.in_(states.TERMINAL))
    return list(session().scalars(late.where(Artifact.updated_at < moment - SEND_WITHIN).limit(BATCH)))


def give_up(uid: str, store: ArtifactStore) -> None:
    """Wait for an artifact no longer, and forget what came of it."""
    waited = update(Artifact).where(Artifact.uid == uid, Artifact.state == PENDING)
    key = session().scalar(waited.values(state=REJECTED, updated_at=now()).returning(Artifact.storage_key))
    if key:
        store.discard(key)


def _named(job: BoxJob, name: str) -> Artifact | None:
    return session().scalar(of_job(job).where(Artifact.name == name).with_for_update(of=Artifact))


def _add(job: BoxJob, name: str) -> Artifact:
    uid = new_uid()
    row = Artifact(uid=uid, job_id=job.id, name=name, content_type=ANY_TYPE, storage_key=f"{job.uid}/{uid}")
    try:
        with session().begin_nested():
            session().add(row)
    except IntegrityError:
        raise conflict("An artifact of this name is being announced", field="name") from None
    return row


def _refuse_too_many(job: BoxJob) -> None:
    if len(session().scalars(of_job(job).with_only_columns(Artifact.id).limit(MOST)).all()) >= MOST:
        raise conflict(f"A job has at most {MOST} artifacts")


def _lower(text: str | None) -> str | None:
    return text.lower() if text else None
