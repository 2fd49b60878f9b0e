"""Jobs over rows: created from rows or from another job's result, watched, repeated and deleted."""

from __future__ import annotations

from typing import Any

from app.http import Answer, caller, created, page, transact
from app.services import audit
from app.services.row_jobs import lifecycle, logs, queue, results, submission
from app.services.row_jobs.lifecycle import Filters
from app.services.row_jobs.submission import Asked
from app.wire.moments import moment
from app.wire.pages import Listing, Window
from models.row_jobs import RowJob
from models.views.row_jobs import QueuedRowJobView, RowJobLineView, RowJobReportView, RowJobView

Json = dict[str, Any]


def _owner() -> int:
    return caller().user_id or 0


def _shown(job: RowJob) -> Json:
    shown: Json = RowJobView().dump(job)
    return shown | {"queue_position": queue.positions([job]).get(job.id)}


def _created(job: RowJob, action: str) -> Answer:
    audit.note(f"row_job.{action}", "row_job", job.uid, job_type=job.job_type)
    return created(_shown(job), f"/api/jobs/{job.uid}")


def _asked(slug: str, body: Json) -> Asked:
    submission.runnable(slug)
    submission.check(slug, body)
    with transact(write=False):
        return submission.ask(_owner(), slug, body)


def _submit(slug: str, body: Json) -> Answer:
    """Rows are looked through between two transactions: a lock must not wait for ten thousand of them."""
    drafted = submission.draft(_asked(slug, body))
    with transact():
        return _created(submission.submit(_owner(), drafted), "create")


def create_row_job(body: Json) -> Answer:
    """Create a job of any type."""
    return _submit(body.pop("job_type", "scrap"), body)


def create_typed_row_job(id_: str, body: Json) -> Answer:
    """Answer for the types that are not run yet."""
    return _submit(id_, body)


def create_import_job(body: Json) -> Answer:
    """Import a list."""
    return _submit("import", body)


def create_filter_job(body: Json) -> Answer:
    """Filter rows."""
    return _submit("filter", body)


def create_sort_job(body: Json) -> Answer:
    """Sort rows."""
    return _submit("sort", body)


def create_dedupe_job(body: Json) -> Answer:
    """Drop rows that repeat others."""
    return _submit("dedupe", body)


def create_normalize_job(body: Json) -> Answer:
    """Bring telephones and addresses into one form."""
    return _submit("normalize", body)


def create_verify_emails_job(body: Json) -> Answer:
    """Verify e-mail addresses."""
    return _submit("verify_emails", body)


def create_http_fetch_job(body: Json) -> Answer:
    """Fetch a page of each row."""
    return _submit("http_fetch", body)


def create_emails_job(body: Json) -> Answer:
    """Look for e-mail addresses on web sites."""
    return _submit("emails", body)


def create_socials_job(body: Json) -> Answer:
    """Look for social network accounts on web sites."""
    return _submit("socials", body)


def create_techstack_job(body: Json) -> Answer:
    """Recognise the technology of web sites."""
    return _submit("techstack", body)


def estimate_row_job(body: Json) -> Json:
    """Tell what a job would cost."""
    return submission.estimate(submission.prepare(_asked(body.pop("job_type", "scrap"), body)))


def resume_row_job(body: Json) -> Answer:
    """Go on where a job ended."""
    return _created(submission.resume(_owner(), body["job_id"]), "resume")


def rerun_row_job(id_: str) -> Answer:
    """Run a job again."""
    return _created(submission.rerun(_owner(), id_), "rerun")


def list_row_jobs(
    sort: str, created_after: str | None, created_before: str | None, limit: int, offset: int, **equal: Any
) -> Json:
    """List one's jobs."""
    since, until = (moment(text) if text else None for text in (created_after, created_before))
    query = lifecycle.find(_owner(), Filters(since=since, until=until, **equal))
    column = lifecycle.SORTS[sort.removeprefix("-")]
    rows: list[RowJob] = []

    def keep(job: RowJob) -> Json:
        rows.append(job)
        shown: Json = RowJobView().dump(job)
        return shown

    answer = page(Listing(query, "items", keep, (column, RowJob.id), sort.startswith("-")), limit=limit, offset=offset)
    places = queue.positions(rows)
    for job, shown in zip(rows, answer["items"], strict=True):
        shown["queue_position"] = places.get(job.id)
    return answer


def get_row_job(id_: str) -> Json:
    """Show a job."""
    return _shown(lifecycle.get(_owner(), id_))


def cancel_row_job(id_: str) -> Json:
    """End a job."""
    job = lifecycle.cancel(_owner(), id_)
    audit.note("row_job.cancel", "row_job", job.uid)
    return _shown(job)


def delete_row_job(id_: str) -> None:
    """Delete a job with its rows."""
    lifecycle.remove(_owner(), id_)
    audit.note("row_job.delete", "row_job", id_)


def list_row_job_items(id_: str, search: str | None, sort: str | None, limit: int, offset: int) -> Json:
    """List the rows of a result."""
    return results.page(lifecycle.get(_owner(), id_), Window(limit, offset), search, sort)


def list_row_job_logs(id_: str, after: int, limit: int, offset: int) -> Json:
    """List the lines of a job's log."""
    query = logs.after(lifecycle.get(_owner(), id_).id, after)
    return page(Listing(query, "items", RowJobLineView().dump), limit=limit, offset=offset)


def get_row_job_report(id_: str) -> Json:
    """Sum a job up."""
    shown: Json = RowJobReportView().dump(lifecycle.get(_owner(), id_))
    return shown


def get_row_job_queue(limit: int, offset: int) -> Json:
    """Show what runs and waits on this server."""
    shown = page(
        Listing(queue.open_jobs(), "items", QueuedRowJobView().dump, (RowJob.id,), descending=False),
        limit=limit,
        offset=offset,
    )
    return {"lanes": queue.lanes()} | shown
