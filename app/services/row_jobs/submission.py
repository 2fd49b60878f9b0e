"""From a request to a job: its type, its rows, what it would cost, and the rows in store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import jsonschema_rs
import orjson
from sqlalchemy import select
from sqlalchemy.orm import undefer

from app.problems import Issue, Problem, invalid, malformed, not_found
from app.services import registry
from app.services.registry import MAX_EF_PER_JOB, MAX_ITEMS
from app.services.row_jobs import chunks, logs, queue
from app.services.row_jobs.chunks import Packed
from app.services.row_jobs.contract import JobType, Prepared
from app.services.row_jobs.logs import Line
from app.services.row_jobs.types import TYPES
from app.wire.validators import issues
from models.base import session
from models.row_jobs import CANCELLED, DONE, ENDED, FAILED, RowJob, RowJobItems, RowJobRows

Json = dict[str, Any]
RESUMED: Final = (FAILED, CANCELLED)
# What a result's table may have: rows with ever other columns would make one that no program opens.
MOST_COLUMNS: Final = 1_000
# Parameters that name another job whose rows are the input.
SOURCES: Final = ("source_job_id", "from_job_id")


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks for: a type that runs, its parameters, and the rows to work on."""

    kind: JobType
    params: Json
    items: list[Json]
    source_job_id: str | None


@dataclass(frozen=True, slots=True)
class Draft:
    """A job that is not stored yet: its columns, and its rows packed."""

    fields: Json
    items: Packed


def runnable(slug: str) -> JobType:
    """The job type of a slug; a 404 Problem when there is none, 503 when this server does not run it."""
    known = registry.job_types().get(slug)
    if known is None:
        raise not_found("Job type")
    kind = TYPES.get(slug)
    if kind is None:
        raise Problem(503, f"{slug} is not available yet", code="alpha_unavailable", headers={"retry-after": "86400"})
    return kind


def check(slug: str, body: Json) -> None:
    """A Problem naming each field that breaks the schema the registry publishes for the type."""
    if registry.job_types()[slug].items is not None and not body.keys() & {"items", "source_job_id"}:
        raise invalid(Issue(("body", "items"), "required"))
    try:
        wrong = issues(_validator(slug), body, ("body",))
    except (RecursionError, ValueError):  # what a validator raises for a value nested beyond its stack
        raise malformed("The body is nested too deeply") from None
    if wrong:
        raise invalid(*wrong)


@cache
def _validator(slug: str) -> jsonschema_rs.Validator:
    schema = registry.job_types()[slug].params_schema()
    return jsonschema_rs.Draft202012Validator(
        schema, validate_formats=True, pattern_options=jsonschema_rs.RegexOptions()
    )


def ask(owner_id: int, slug: str, body: Json) -> Asked:
    """Read what a request means, and the rows it takes from another job; a Problem when it cannot run."""
    kind = runnable(slug)
    params = {name: value for name, value in body.items() if name != "items"}
    source = next((params[name] for name in SOURCES if params.get(name)), None)
    items = body.pop("items", None)  # ten thousand rows are not kept for as long as the request lasts
    if source:
        job = _source(owner_id, source)
        _refuse_unfit(slug, params, job)
        items = chunks.between(RowJobRows, job.id, 0, job.rows) if items is None else items
    return Asked(kind, params, items or [], source)


def _source(owner_id: int, uid: str) -> RowJob:
    job = session().scalar(select(RowJob).where(RowJob.uid == uid, RowJob.owner_id == owner_id))
    if job is None:
        raise not_found("Source job")
    if job.status != DONE:
        raise Problem(400, f"The source job is {job.status}; only the rows of one that is done can be used")
    if job.rows > MAX_ITEMS:
        raise Problem(400, f"The source job has {job.rows} rows; a job takes {MAX_ITEMS}")
    return job


def _refuse_unfit(slug: str, params: Json, job: RowJob) -> None:
    """A deep search goes on where a normal one ended."""
    if slug == "emails" and params.get("mode") == "deep" and (job.job_type, job.mode) != ("emails", "normal"):
        raise Problem(400, "The source of a deep search is a finished emails job of mode normal")


def prepare(asked: Asked) -> Prepared:
    """What would run; a 422 Problem when no row can be worked on. Pure, and slow for many rows: hold no lock."""
    return asked.kind.prepare(asked.params, asked.items)


def estimate(prepared: Prepared) -> Json:
    """What a job would cost, and whether it would be taken."""
    return {
        "ef_cost": prepared.ef_cost,
        "units_count": len(prepared.items),
        "accepted_items": len(prepared.items),
        "ignored_items": prepared.ignored,
        "within_limit": prepared.ef_cost <= MAX_EF_PER_JOB,
        "max_ef_per_job": MAX_EF_PER_JOB,
        "notices": list(prepared.notices),
    }


def draft(asked: Asked) -> Draft:
    """The job as it would be stored; a Problem when it would cost too much or have too many rows or columns."""
    prepared = prepare(asked)
    if prepared.ef_cost > MAX_EF_PER_JOB:
        raise Problem(400, f"The job would cost {prepared.ef_cost:g} EF; a job may cost {MAX_EF_PER_JOB:g}")
    if len(prepared.items) > MAX_ITEMS:
        raise Problem(400, f"The job would have {len(prepared.items)} rows; a job takes {MAX_ITEMS}")
    items = chunks.pack(prepared.items)
    if len(items.columns) > MOST_COLUMNS:
        raise Problem(400, f"The rows have {len(items.columns)} columns; a job takes {MOST_COLUMNS}")
    kind, params = asked.kind, prepared.params
    fields = {"job_type": kind.slug, "lane": kind.lane, "unit": kind.unit, "mode": params.get("mode")}
    fields |= {"params": orjson.dumps(params).decode(), "notices": list(prepared.notices), "ef_cost": prepared.ef_cost}
    fields |= {"units": items.count, "ignored": prepared.ignored, "source_job_id": asked.source_job_id}
    return Draft(fields, items)


def submit(owner_id: int, drafted: Draft) -> RowJob:
    """Store the job with its rows and hand it over; it is there to stay once the transaction is."""
    job = RowJob(owner_id=owner_id, **drafted.fields)
    _add(job)
    chunks.store(RowJobItems, job.id, 0, drafted.items)
    _accepted(job, job.notices)
    return job


def _add(job: RowJob) -> None:
    job.columns, job.last_seq, job.turn = {}, 0, 0
    session().add(job)
    session().flush()


def _accepted(job: RowJob, notices: Iterable[str]) -> None:
    dropped = f", {job.ignored} left out" if job.ignored else ""
    lines = [Line("info", f"Accepted: {job.units} {job.unit}{dropped}"), *(Line("info", text) for text in notices)]
    logs.append(job, lines)
    queue.hand_over(job)


def rerun(owner_id: int, uid: str) -> RowJob:
    """A fresh job with the parameters and rows of one that ended; a 400 Problem while it runs or once it expired."""
    old = _ended(owner_id, uid, ENDED, "run again")
    job = _again(old)
    _accepted(job, job.notices)
    return job


def resume(owner_id: int, uid: str) -> RowJob:
    """A job that goes on where a failed or cancelled one ended; when all its units had failed, from the start."""
    old = _ended(owner_id, uid, RESUMED, "resumed")
    job = _again(old)
    if old.processed < old.units:
        chunks.copy(RowJobRows, old.id, job.id)
        for name in ("processed", "failed_units", "rows", "columns"):
            setattr(job, name, getattr(old, name))
    _accepted(job, job.notices)
    return job


def _ended(owner_id: int, uid: str, states: tuple[str, ...], what: str) -> RowJob:
    """The job, its row locked for reading, so that it is neither deleted nor expired while it is copied."""
    found = select(RowJob).where(RowJob.uid == uid, RowJob.owner_id == owner_id).options(undefer(RowJob.params))
    old = session().scalar(found.with_for_update(read=True))
    if old is None:
        raise not_found("Job")
    if old.status not in states:
        raise Problem(400, f"The job is {old.status}; it cannot be {what}")
    runnable(old.job_type)
    return old


def _again(old: RowJob) -> RowJob:
    names = ("owner_id", "job_type", "lane", "unit", "params", "mode", "notices", "ef_cost", "units", "ignored")
    job = RowJob(**{name: getattr(old, name) for name in names}, source_job_id=old.uid)
    _add(job)
    chunks.copy(RowJobItems, old.id, job.id)
    return job
